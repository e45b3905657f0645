"""Steps ``prepare``, ``train`` and ``combine``: what is a model's own between its data and its version."""

import logging
from typing import Any

from include.lifecycle.errors import BadInputError
from include.lifecycle.registry.client import connect
from include.retraining.pipeline import ConfigT, Pipeline
from include.retraining.run import RetrainRun

log = logging.getLogger(__name__)

MEMBER = "member"
"""Where a member's run keeps what ``build`` needs of it."""


def prepare(model: Pipeline[ConfigT, Any], config: ConfigT, run_id: str) -> dict[str, Any]:
    """Make what all members train on.

    :return: what the model tells
    """
    run = RetrainRun.of(connect(), config, run_id)
    with run.step("prepare") as scratch:
        return {"run_id": run_id, **model.prepare(run, config, scratch)}


def train(model: Pipeline[ConfigT, Any], config: ConfigT, run_id: str, member: str) -> dict[str, Any]:
    """Train a member and log it as a nested MLflow run.

    :return: the member's run id, and what the model tells
    :raises BadInputError: when the model has no such member, naming those it has
    """
    members = tuple(model.members(config))
    if member not in members:
        raise BadInputError(f"unknown member {member!r}: configured are {', '.join(members)}")
    run = RetrainRun.of(connect(), config, run_id)
    with run.step(f"train {member}") as scratch:
        nested = run.open_member(member)
        trained = model.train(run, config, member, nested.run_id, scratch)
        if trained.folder is not None:
            nested.upload(trained.folder, MEMBER)
        nested.log(params=trained.params, metrics=trained.metrics)
        run.client.set_terminated(nested.run_id)
    return {"run_id": run_id, "member": member, "member_run_id": nested.run_id, **trained.told}


def combine(model: Pipeline[ConfigT, Any], config: ConfigT, run_id: str) -> dict[str, Any]:
    """Make one model of the members.

    :return: what the model tells
    """
    run = RetrainRun.of(connect(), config, run_id)
    with run.step("combine") as scratch:
        return {"run_id": run_id, **model.combine(run, config, scratch)}
