"""Step ``validate``: score the registered version's backtest member on the holdout and apply the gate."""

import logging
import math
import os
from typing import Any

import numpy as np
import pandas as pd

from include.lifecycle.errors import BadInputError, GateFailedError
from include.lifecycle.ledger.statements import IN_AIRFLOW_ENV
from include.lifecycle.moves.gate_record import record_gate
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.registry.client import connect
from include.lifecycle.registry.versions import VersionInfo
from include.lifecycle.rules.gates import GateResult, evaluate_gate
from include.lifecycle.stages import NONE
from include.retraining.pipeline import ConfigT, Pipeline
from include.retraining.protocol import Member, RetrainedModel
from include.retraining.run import RetrainRun
from include.retraining.steps.pull import DATA, check_metric

log = logging.getLogger(__name__)


def validate(
    model: Pipeline[ConfigT, Any], config: ConfigT, *, run_id: str | None = None, version: int | None = None
) -> dict[str, Any]:
    """Load a version from the registry, score its backtest member on the holdout, apply the gate, record both.

    :param run_id: MLflow run of the retrain: its version is validated
    :param version: model version; without either the newest in stage None
    :return: model, version, the metric on the holdout, threshold, outcome, and what the promotion ledger should know
    :raises GateFailedError: when the version does not pass: it is tagged and stays where it is
    """
    check_metric(model, config)
    client = connect()
    registry = ModelRegistry(client, integrity=config.lifecycle.integrity)
    info = wanted_version(registry, config.lifecycle.model, run_id, version, NONE)
    run = RetrainRun(client, info.run_id)
    with run.step("validate") as scratch:
        data = model.restore(run.fetch(DATA, scratch))
        holdout = model.holdout(data, config)
        # the version as the registry keeps it, never what is in memory
        loaded = model.load(registry.download(info, scratch / "version"))
        result, rows = score(model, loaded.backtest, holdout, config.lifecycle.gate.threshold)
        data_version = run.tags.get("data.version", "unknown")
        validation = record_gate(registry, info, result, data_version=data_version, rows=rows)
        if not os.environ.get(IN_AIRFLOW_ENV):
            registry.validated(validation)
        printed = {
            "run_id": info.run_id,
            "model": info.model,
            "version": info.version,
            result.metric: result.value if math.isfinite(result.value) else None,
            "threshold": result.threshold,
            "passed": result.passed,
            "validation": validation.to_dict(),
        }
        if not result.passed:
            raise GateFailedError(
                f"{info.model} version {info.version} failed its gate, retrain required:"
                f" {'; '.join(result.failed_checks)}",
                printed,
            )
        log.info(
            "%s version %d: holdout %s %s, %s %g", info.model, info.version, model.metric.title,
            model.metric.text(result.value), result.direction, result.threshold,
        )  # fmt: skip
    run.finish()
    return printed


def score(model: RetrainedModel, member: Member, holdout: pd.DataFrame, threshold: float) -> tuple[GateResult, int]:
    """Score a member on the holdout and apply the gate.

    :return: the outcome, and how many rows count
    """
    metric, actual = model.metric, model.columns.actual
    predicted = np.asarray(member.predict(holdout.drop(columns=actual), holdout.iloc[:0]), dtype=np.float64)
    if len(predicted) != len(holdout):
        predicted = np.full(len(holdout), np.nan)
    counted = model.counts(holdout)
    truth, predicted = holdout.loc[counted, actual].to_numpy(dtype=np.float64), predicted[counted]
    answered = np.isfinite(predicted)
    result = evaluate_gate(
        metric=metric.name,
        value=metric.score(truth, predicted) if answered.all() else math.nan,
        threshold=threshold,
        rows=int(answered.sum()),
        expected_rows=len(truth),
        seen_rows=int((~member.unseen(holdout)).sum()),
        direction="below" if metric.lower_is_better else "above",
        bounds=metric.bounds,
    )
    return result, len(truth)


def wanted_version(
    registry: ModelRegistry, model: str, run_id: str | None, version: int | None, stage: str
) -> VersionInfo:
    """Return the version that a number or a retrain's run names, else the newest in a stage.

    :raises BadInputError: when there is none
    """
    if version is not None:
        return registry.version(model, version)
    versions = registry.versions(model)
    found = [info for info in versions if (info.run_id == run_id if run_id is not None else info.stage == stage)]
    if not found:
        raise BadInputError(
            f"model {model!r} has no version"
            + (f" registered by the run {run_id}: run `register` first" if run_id else f" in {stage}: give --version")
        )
    return found[0]
