"""What a gate said, recorded on the version and its run for people, and for the ledger."""

import json
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.lifecycle import tags as tag
from include.lifecycle.ledger.statements import Validation
from include.lifecycle.rules.gates import GateResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.registry.versions import VersionInfo

log = logging.getLogger(__name__)


def record_gate(
    registry: "ModelRegistry", info: "VersionInfo", result: GateResult, *, data_version: str, rows: int | None = None
) -> Validation:
    """Record a gate's outcome on the version and on its run, for people, and return what the ledger should know.

    Tags are written one by one. ``failed`` is written first and ``passed`` last, so that a process killed in
    between never leaves a version that seems to have passed.

    :param data_version: version of the data that the holdout came from
    """
    said = Validation(
        model=info.model,
        version=info.version,
        outcome=tag.PASSED if result.passed else tag.FAILED,
        metric=result.metric,
        value=repr(result.value),
        threshold=repr(result.threshold),
        direction=result.direction,
        digest=info.tags.get(tag.ARTIFACTS_DIGEST, ""),
        rows=rows,
        data_version=data_version,
        failed=tuple(result.failed_checks),
    )
    tags = {
        tag.VALIDATION_METRIC: said.metric,
        tag.VALIDATION_VALUE: said.value,
        tag.VALIDATION_THRESHOLD: said.threshold,
        tag.VALIDATION_TIME: said.at.isoformat(timespec="seconds"),
        tag.VALIDATION_DATA_VERSION: data_version,
        tag.VALIDATION_FAILED_CHECKS: json.dumps(result.failed_checks),
    } | ({} if said.passed else {tag.RETRAIN_REQUIRED: tag.TRUE})
    client, model, version = registry.client, info.model, str(info.version)
    if not said.passed or tag.VALIDATION_OUTCOME in info.tags:
        client.set_model_version_tag(model, version, tag.VALIDATION_OUTCOME, tag.FAILED)
    for key, value in tags.items():
        client.set_model_version_tag(model, version, key, value)
    if said.passed:
        if tag.RETRAIN_REQUIRED in info.tags:
            client.delete_model_version_tag(model, version, tag.RETRAIN_REQUIRED)
        client.set_model_version_tag(model, version, tag.VALIDATION_OUTCOME, tag.PASSED)
    if info.run_id:
        _record_on_run(client, info.run_id, result, {**tags, tag.VALIDATION_OUTCOME: said.outcome})
    log.info("%s version %s: gate %s (%s %s)", model, version, said.outcome, result.metric, result.value)
    return said


def _record_on_run(client: "MlflowClient", run_id: str, result: GateResult, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    if result.passed and tag.RETRAIN_REQUIRED in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, tag.RETRAIN_REQUIRED)
    if math.isfinite(result.value):
        client.log_metric(run_id, f"validation_{result.metric}", result.value)
    client.log_metric(run_id, "validation_threshold", result.threshold)
