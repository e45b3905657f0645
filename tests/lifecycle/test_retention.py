"""Retention on a real MLflow: what stays and why, what goes, and what an interruption or a rollback changes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from include.lifecycle import tags as tag
from include.lifecycle.config.models import RetentionConfig
from include.lifecycle.errors import BadInputError, ModelNotFoundError, ReportedError, VersionNotFoundError
from include.lifecycle.ledger.entries import Intent
from include.lifecycle.moves import retention as module
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.moves.retention import judge, report
from include.lifecycle.rules.decisions import Decision, Outcome
from tests.validations import validation

from .support import MODEL, approved, impatient, stages

KEEP = RetentionConfig(keep_champions=2, keep_days=30)
WHO = Decision(Outcome.SUPERSEDED, "ana", "test", "retention")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the retention run in two months: what was registered or named today is old then."""
    monkeypatch.setattr(module, "utc_now", lambda: datetime.now(UTC) + timedelta(days=60))


@pytest.fixture
def logged(registry: ModelRegistry, tmp_path: Path) -> Callable[..., int]:
    """Registers a version with a logged model, its run's artifacts and a nested run's."""

    def logged(stage: str = "None", run_id: str | None = None) -> int:
        client = registry.client
        run_id = run_id or client.create_run("0").info.run_id
        nested = client.create_run("0", tags={"mlflow.parentRunId": run_id}).info.run_id
        model = client.create_logged_model("0", name="model", source_run_id=run_id)
        file = tmp_path / "weights.bin"
        file.write_text("weights")
        client.log_model_artifact(model.model_id, str(file))
        client.log_artifact(run_id, str(file), "data")
        client.log_artifact(nested, str(file), "member")
        source = f"models:/{model.model_id}"
        version = int(client.create_model_version(MODEL, source, run_id, model_id=model.model_id).version)
        registry.validated(validation(MODEL, version))
        if stage != "None":
            registry.stage(MODEL, version)
        if stage == "Production":
            registry.promote(MODEL, version, approved())
        return version

    return logged


def files(artifacts: Path) -> list[str]:
    """Return the artifact files that the store holds."""
    return sorted(path.name for path in artifacts.rglob("*") if path.is_file())


def run(registry: ModelRegistry, delete: bool = False, config: RetentionConfig = KEEP) -> module.Retention:
    return registry.retention(MODEL, config, WHO, delete=delete)


def why(done: module.Retention) -> dict[int, str]:
    return {verdict.info.version: verdict.why for verdict in done.verdicts}


def test_what_is_kept_and_why(registry, add, by_hand, later):
    for _ in range(4):
        add(stage="Production")  # 4 is live, 2 and 3 are the last former champions
    add(stage="Staging")
    add()
    add()
    by_hand(7, "Archived")
    registry.client.set_registered_model_alias(MODEL, "golden", "6")
    assert why(run(registry)) == {
        7: "",
        6: "it has the alias golden",
        5: "it is in Staging",
        4: "it is in Production",
        3: "it has the alias previous",
        2: "it is one of the last 2 former Production versions",
        1: "",
    }


def test_what_is_new_or_was_named_lately_is_kept(registry, add):
    add(stage="Production")
    add(stage="Production")
    add()
    assert all(verdict.kept for verdict in run(registry).verdicts)
    assert why(run(registry))[3].startswith("it was registered on 20")
    soon = datetime.now(UTC) + timedelta(days=31)
    found = judge(RetentionConfig(keep_champions=1, keep_days=30), registry.ledger(MODEL).read(),
                  registry.versions(MODEL), soon)  # fmt: skip
    assert {verdict.info.version: verdict.kept for verdict in found} == {1: True, 2: True, 3: False}


def test_what_somebody_asked_to_roll_back_to_is_kept(registry, add, monkeypatch):
    for _ in range(5):
        add(stage="Production")
    future = datetime.now(UTC) + timedelta(days=60)
    monkeypatch.setattr(module, "utc_now", lambda: future)
    assert not why(run(registry))[1]
    registry.client.set_model_version_tag(MODEL, "1", tag.ROLLBACK_REQUESTED, (future - timedelta(days=1)).isoformat())
    assert why(run(registry))[1].startswith("a rollback to it was asked for on ")
    for nonsense in ("yesterday", "", "9" * 100):
        registry.client.set_model_version_tag(MODEL, "1", tag.ROLLBACK_REQUESTED, nonsense)
        assert not why(run(registry))[1]


def test_a_dry_run_changes_nothing(registry, logged, later, artifacts):
    for stage in ("Production", "None", "None"):
        logged(stage)
    before = (stages(registry), registry.ledger(MODEL).read().next_number, files(artifacts))
    done = run(registry)
    assert done.deleted == ()
    assert (stages(registry), registry.ledger(MODEL).read().next_number, files(artifacts)) == before
    assert report(done, delete=False) == [
        "Version 1 (Production) stays: it is in Production",
        "Version 3 (None) would be deleted",
        "Version 2 (None) would be deleted",
    ]


def test_a_deletion_takes_the_files_and_stays_in_the_ledger(registry, logged, later, artifacts):
    logged("Production")
    logged()
    kept, gone = registry.version(MODEL, 1), registry.version(MODEL, 2)
    model_id = gone.source.removeprefix("models:/")
    assert len(files(artifacts)) == 6
    done = run(registry, delete=True)
    assert (done.deleted, done.completed) == ((2,), ())
    assert stages(registry) == {1: "Production"}
    assert len(files(artifacts)) == 3, "those of version 1: logged model, run, nested run"
    with pytest.raises(MlflowException):
        registry.client.get_logged_model(model_id)
    for run_id in (kept.run_id, gone.run_id):
        assert registry.client.get_run(run_id).info.lifecycle_stage == "active", "the run is the training's record"
    event = registry.history(MODEL)[-1]
    assert (event.version, event.from_stage, event.to_stage, event.user) == (2, "None", "Deleted", "ana")
    assert event.evidence["model_id"] == model_id
    assert registry.verify(MODEL) == []
    assert run(registry, delete=True) == module.Retention(done.verdicts[1:])
    assert len(registry.history(MODEL)) == 3
    assert registry.reconcile(MODEL).changed is False


def test_what_another_version_was_made_from_too_is_left(registry, logged, later, artifacts):
    logged("Production")
    run_id = registry.version(MODEL, 1).run_id
    logged(run_id=run_id)
    registry.client.create_registered_model("other")
    shared = registry.version(MODEL, logged()).source
    registry.client.create_model_version("other", shared, None)
    assert run(registry, delete=True).deleted == (2, 3)
    assert files(artifacts).count("weights.bin") == 7, "only version 2's logged model belonged to it alone"


def test_a_former_champion_that_is_deleted_cannot_come_back(registry, add, later):
    for _ in range(5):
        add(stage="Production")
    assert run(registry, delete=True).deleted == (1, 2)
    with pytest.raises(VersionNotFoundError):
        registry.rollback(MODEL, 1, approved())
    assert registry.previous_champion(MODEL).version == 4
    assert registry.rollback(MODEL, 3, approved()).changed


def test_a_rollback_that_comes_first_keeps_its_version(registry, add, later, monkeypatch):
    for _ in range(5):
        add(stage="Production")
    runner = module.RetentionRunner(registry.client, registry.ledger(MODEL), KEEP)
    judged = runner._verdicts(registry.ledger(MODEL).read())
    assert [verdict.info.version for verdict in judged if not verdict.kept] == [2, 1]
    registry.rollback(MODEL, 1, approved("eve", "urgent"))
    second, first = (verdict.info for verdict in judged if not verdict.kept)
    assert not runner._delete(first, WHO), "judged again under the lock"
    assert stages(registry)[1] == "Production"
    assert runner._delete(second, WHO)


@pytest.mark.parametrize("killed_at", ["after the version", "at the files"])
def test_what_was_interrupted_is_completed_by_the_next_run(registry, logged, later, artifacts, monkeypatch, killed_at):
    logged("Production")
    logged()
    method = "_enter" if killed_at == "after the version" else "_delete_files"

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.RetentionRunner, method, die)
        with pytest.raises(Killed):
            run(registry, delete=True)
    assert stages(registry) == {1: "Production"}
    assert len(files(artifacts)) == 6
    registry = impatient(registry)
    done = run(registry, delete=True)
    assert done.completed == (2,)
    (deletion,) = [event for event in registry.history(MODEL) if event.to_stage == "Deleted"]
    assert (deletion.version, deletion.from_stage) == (2, "None")
    assert {"model_id", "run_id"} <= set(deletion.evidence)
    assert len(files(artifacts)) == 3, "what belonged to the version alone is gone, whenever the process was killed"
    assert run(registry, delete=True).completed == ()


def test_what_another_version_was_made_from_meanwhile_stays(registry, logged, later, artifacts, monkeypatch):
    logged("Production")
    doomed = registry.version(MODEL, logged())

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.RetentionRunner, "_enter", die)
        with pytest.raises(Killed):
            run(registry, delete=True)
    registry.client.create_registered_model("other")
    registry.client.create_model_version("other", doomed.source, doomed.run_id)
    assert run(impatient(registry), delete=True).completed == (2,)
    assert len(files(artifacts)) == 6, "the other version has its files"


def test_a_version_made_from_the_same_model_just_now_keeps_it(registry, logged, later, monkeypatch):
    logged("Production")
    doomed = registry.version(MODEL, logged())
    registry.client.create_registered_model("other")
    judge = module.RetentionRunner._verdicts

    def judge_late(self: Any, state: Any) -> Any:
        if state.holder is not None:
            registry.client.create_model_version("other", doomed.source, doomed.run_id)
        return judge(self, state)

    monkeypatch.setattr(module.RetentionRunner, "_verdicts", judge_late)
    assert run(registry, delete=True).deleted == ()
    assert stages(registry)[2] == "None"


def test_a_version_without_a_logged_model_leaves_no_files_either(
    registry, add, later, artifacts, tmp_path, monkeypatch
):
    add(stage="Production")
    version = add()
    file = tmp_path / "weights.bin"
    file.write_text("weights")
    registry.client.log_artifact(registry.version(MODEL, version).run_id, str(file), "data")

    def refuse(*_: object) -> None:
        raise OSError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(module.RetentionRunner, "_delete_at", refuse)
        with pytest.raises(ReportedError, match=rf"Version {version} .*read-only"):
            run(registry, delete=True)
    assert files(artifacts) == ["weights.bin"]
    assert run(registry, delete=True).completed == (version,)
    assert files(artifacts) == []
    assert run(registry, delete=True).completed == ()


def test_a_store_that_does_not_delete_is_told_and_tried_again(registry, logged, later, artifacts, monkeypatch):
    logged("Production")
    logged()

    def refuse(*_: object) -> None:
        raise OSError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(module.RetentionRunner, "_delete_at", refuse)
        with pytest.raises(ReportedError, match=r"Version 2 .*read-only"):
            run(registry, delete=True)
    assert run(registry, delete=True).completed == (2,)
    assert len(files(artifacts)) == 3


def test_a_promotion_under_way_keeps_its_version(registry, add, later):
    add(stage="Production")
    version = add()
    with registry.ledger(MODEL).lock(Intent(version, "None", "Production")):
        assert why(run(registry))[version] == "a promotion of it is under way or was interrupted"


def test_the_model_has_to_exist_and_the_configuration_to_keep_something(registry):
    with pytest.raises(ModelNotFoundError):
        registry.retention("demnd", KEEP, WHO)
    assert report(run(registry), delete=True) == ["The model has no version"]
    for wrong in ({"keep_champions": 0}, {"keep_days": 0}, {"keep_days": -1}):
        with pytest.raises(ValueError, match="or equal to 1"):
            RetentionConfig(**wrong)
    assert issubclass(ModelNotFoundError, BadInputError)
