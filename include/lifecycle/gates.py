"""The gate that a candidate passes before Staging, and its record on the version and its run."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from include.lifecycle import tags as tag
from include.lifecycle.decisions import utc_now
from include.lifecycle.statements import Validation

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from include.lifecycle.registry import ModelRegistry
    from include.lifecycle.versions import VersionInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GateResult:
    """Outcome of a gate.

    :param value: the metric's value, NaN when there is none
    :param failed_checks: one sentence for each check that failed
    """

    metric: str
    value: float
    threshold: float
    failed_checks: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed_checks


def evaluate_gate(
    *,
    metric: str,
    value: float,
    threshold: float,
    rows: int,
    expected_rows: int,
    training_end: date | None,
    holdout_start: date | None,
) -> GateResult:
    """Apply the gate. A metric for which smaller is better passes strictly below its threshold.

    :param metric: name of the metric
    :param value: its value on the holdout
    :param threshold: what it must stay below
    :param rows: rows of the holdout that were scored
    :param expected_rows: rows that the holdout has
    :param training_end: last day that what was scored was trained on
    :param holdout_start: first day of the holdout
    :return: the outcome, with every check that failed
    """
    failed: list[str] = []
    if training_end is None or holdout_start is None:
        failed.append("the end of the training or the start of the holdout is not recorded")
    elif training_end >= holdout_start:
        failed.append(f"the training ends on {training_end}, not before the holdout, which starts on {holdout_start}")
    if expected_rows <= 0:
        failed.append("the holdout is empty")
    elif rows != expected_rows:
        failed.append(f"{rows} of the holdout's {expected_rows} rows were scored")
    if not math.isfinite(threshold):
        failed.append(f"the threshold {threshold} is not a number to compare with")
    if not math.isfinite(value):
        failed.append(f"{metric} is {value}")
    elif value < 0:
        failed.append(f"{metric} is {value:g}, which no error metric can be")
    elif math.isfinite(threshold) and not value < threshold:
        failed.append(f"{metric} {_digits(value, threshold)} is not below {threshold:g}")
    return GateResult(metric, float(value), float(threshold), failed)


def record_gate(
    registry: "ModelRegistry", info: "VersionInfo", result: GateResult, *, data_version: str, rows: int | None = None
) -> Validation:
    """Record a gate's outcome on the version and on its run, for people, and return what the ledger should know.

    Tags are written one by one. ``failed`` is written first and ``passed`` last, so that a process killed in
    between never leaves a version that seems to have passed.

    :param registry: the registry
    :param info: the version that was scored
    :param result: the outcome
    :param data_version: version of the data that the holdout came from
    :param rows: how many rows were scored
    """
    outcome = tag.PASSED if result.passed else tag.FAILED
    tags = {
        tag.VALIDATION_METRIC: result.metric,
        tag.VALIDATION_VALUE: repr(result.value),
        tag.VALIDATION_THRESHOLD: repr(result.threshold),
        tag.VALIDATION_TIME: utc_now().isoformat(timespec="seconds"),
        tag.VALIDATION_DATA_VERSION: data_version,
        tag.VALIDATION_FAILED_CHECKS: json.dumps(result.failed_checks),
    }
    client, model, version = registry.client, info.model, str(info.version)
    before = info.tags.get(tag.VALIDATION_OUTCOME)
    if not result.passed or before is not None:
        client.set_model_version_tag(model, version, tag.VALIDATION_OUTCOME, tag.FAILED)
    for key, value in tags.items():
        client.set_model_version_tag(model, version, key, value)
    if result.passed:
        if tag.RETRAIN_REQUIRED in info.tags:
            client.delete_model_version_tag(model, version, tag.RETRAIN_REQUIRED)
        client.set_model_version_tag(model, version, tag.VALIDATION_OUTCOME, outcome)
    else:
        client.set_model_version_tag(model, version, tag.RETRAIN_REQUIRED, tag.TRUE)
    if info.run_id:
        _record_on_run(client, info.run_id, result, {**tags, tag.VALIDATION_OUTCOME: outcome})
    log.info("%s version %s: gate %s (%s %s)", model, version, outcome, result.metric, result.value)
    return Validation(
        model=info.model,
        version=info.version,
        outcome=outcome,
        metric=result.metric,
        value=repr(result.value),
        threshold=repr(result.threshold),
        digest=info.tags.get(tag.ARTIFACTS_DIGEST, ""),
        rows=rows,
        data_version=data_version,
        failed=tuple(result.failed_checks),
    )


def _record_on_run(client: "MlflowClient", run_id: str, result: GateResult, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    if not result.passed:
        client.set_tag(run_id, tag.RETRAIN_REQUIRED, tag.TRUE)
    elif tag.RETRAIN_REQUIRED in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, tag.RETRAIN_REQUIRED)
    if math.isfinite(result.value):
        client.log_metric(run_id, f"validation_{result.metric}", result.value)
    client.log_metric(run_id, "validation_threshold", result.threshold)


def _digits(value: float, threshold: float) -> str:
    """Return a value with as many digits as it takes to tell it from the threshold."""
    for digits in range(4, 17):
        shown = f"{value:.{digits}f}"
        if value == threshold or float(shown) != threshold:
            return shown
    return repr(value)
