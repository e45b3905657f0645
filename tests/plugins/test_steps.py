"""The step operator: what a step receives, what comes back, how its failures read."""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from include.lifecycle.config.containers import ContainerConfig
from include.lifecycle.config.models import NotificationConfig
from include.lifecycle.environment import OF_ANOTHER_RUN
from include.lifecycle.ledger.reviewed import Reviewed
from model_registry.exceptions import RegistryFailedError, StepFailedError, StepRefusedError
from model_registry.steps.containers import ContainerStepOperator
from model_registry.steps.contract import StepOutput, data_environment
from model_registry.steps.local import PROJECT_ROOT, PipelineStepOperator
from tests.plugins import notifiers
from tests.plugins.asking import ledger
from tests.registry_server import add_version, stage_of
from tests.validations import validation

STEP = """
import json, os, sys, time
what = sys.argv[1]
if what == "environment":
    print("noise on stdout")
    print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}))
elif what == "exit":
    print("2026-01-01 00:00:00 WARNING data: a warning", file=sys.stderr)
    if len(sys.argv) > 3:
        print("error: " + sys.argv[3], file=sys.stderr)
    sys.exit(int(sys.argv[2]))
elif what == "say":
    print(sys.argv[2])
    if len(sys.argv) > 3:
        print("error: not below 0.1", file=sys.stderr)
        sys.exit(int(sys.argv[3]))
elif what == "killed":
    os.kill(os.getpid(), 9)
elif what == "sleep":
    print("sleeping", file=sys.stderr)
    time.sleep(600)
"""


@pytest.fixture
def module(tmp_path: Path, connect: Callable[..., None]) -> dict[str, Any]:
    """Arguments that run a step module of the test."""
    (tmp_path / "toy_step.py").write_text(STEP, encoding="utf-8")
    connect("mlflow_default", host="mlflow", port=5000, login="me", password="pw-of-mlflow")
    return {"task_id": "toy", "module": "toy_step", "cwd": str(tmp_path)}


def execute(operator: PipelineStepOperator) -> Any:
    return operator.execute({})  # type: ignore[typeddict-item]


def test_the_project_root_is_found() -> None:
    assert (PROJECT_ROOT / "include" / "lifecycle").is_dir()


def test_a_step_receives_environment_and_arguments_and_no_secret_of_airflow(
    module: dict[str, Any], connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken-of-the-worker")
    monkeypatch.setenv("RETRAIN_LEDGER_KEY", "k" * 64)
    monkeypatch.setenv("RETRAIN_LEDGER_KEY_FILE", "/run/secrets/ledger")
    connect("data", host="https://git.example.com/data.git", login="bot", password="pw-of-git")
    typed = "$(rm -rf /); {{ conn.mlflow }} 'quoted' \"twice\""
    result = execute(
        PipelineStepOperator(step=["environment", "--x"], env={"RETRAIN_NOTE": typed}, data_conn_id="data", **module)
    )
    environment = result["env"]
    assert result["argv"] == ["environment", "--x"]
    assert result["cwd"] == module["cwd"]
    assert environment["RETRAIN_NOTE"] == typed
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert environment["MLFLOW_TRACKING_PASSWORD"] == "pw-of-mlflow"
    assert environment["RETRAIN_DATA_REGISTRY"] == "https://git.example.com/data.git"
    assert (environment["RETRAIN_GIT_USERNAME"], environment["RETRAIN_GIT_PASSWORD"]) == ("bot", "pw-of-git")
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == module["cwd"]
    assert not [name for name in environment if name.startswith("AIRFLOW")]
    assert "MLFLOW_TRACKING_TOKEN" not in environment, "a login that is not the connection's"
    assert not [name for name in environment if name.startswith("RETRAIN_LEDGER")], "steps write no ledger"
    assert environment["RETRAIN_IN_AIRFLOW"] == "1", "its task writes it"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": "https://git.example.com/data.git"}, ("https://git.example.com/data.git", None, None)),
        ({"extra": {"env": {"DVC_X": "1"}}}, ("https://git.example.org/worker.git", "worker", "pw-of-worker")),
    ],
)
def test_a_connection_with_an_address_takes_no_login_of_the_workers(
    module: dict[str, Any],
    connect: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    expected: tuple[str | None, ...],
) -> None:
    names = ("RETRAIN_DATA_REGISTRY", "RETRAIN_GIT_USERNAME", "RETRAIN_GIT_PASSWORD")
    for name, text in zip(names, ("https://git.example.org/worker.git", "worker", "pw-of-worker"), strict=True):
        monkeypatch.setenv(name, text)
    connect("data", **fields)
    environment = execute(PipelineStepOperator(step=["environment"], data_conn_id="data", **module))["env"]
    assert tuple(environment.get(name) for name in names) == expected


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["exit", "2", "train.csv has no column Sales."], StepRefusedError, "column Sales. Correct what"),
        (["exit", "3", "RMSPE 0.1 is not below 0.1"], StepRefusedError, "below 0.1. Production stays"),
        (["exit", "1", "MLflow does not answer"], StepFailedError, "not answer. Airflow tries"),
        (["exit", "7"], StepFailedError, "code 7 and said nothing"),
        (["killed"], StepFailedError, r"signal 9 \(out of memory"),
        (["say", "no json"], StepRefusedError, "object, found 'no json'"),
        (["say", "[1]"], StepRefusedError, "one JSON object"),
    ],
)
def test_a_failure_is_one_sentence_and_says_what_to_do(
    module: dict[str, Any], arguments: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        execute(PipelineStepOperator(step=arguments, **module))
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, AirflowFailException) is (error is StepRefusedError)


# ---- what its gate said ----


def said(name: str, **fields: Any) -> dict[str, Any]:
    """What a step's result says of a version, with fields of its own."""
    found = validation(name, 1, data_version="d1", rows=7, digest="d" * 64, at=datetime(2026, 1, 1, tzinfo=UTC))
    return {**found.to_dict(), **fields}


@pytest.fixture
def validates(module: dict[str, Any], mlflow: str, model: str, task: Any) -> Callable[..., Any]:
    """Run a step whose result holds a validation, and which ends with an exit code."""

    def run(content: object, code: int = 0) -> Any:
        result = json.dumps({"version": 1, "validation": content})
        step = ["say", result, str(code)]
        return PipelineStepOperator(step=step, model_name=model, **module).execute(task.context)

    return run


def test_what_the_gate_said_is_in_the_ledger_with_the_run_that_asked_it(
    model: str, task: Any, validates: Callable[..., Any]
) -> None:
    result = validates(said(model, dag_id="another", run_id="another"))
    assert result["version"] == 1
    found = ledger(model).statements.validations[1].what
    assert (found.passed, found.metric, found.value, found.threshold) == (True, "rmspe", "0.09", "0.1")
    assert (found.data_version, found.rows, found.digest, found.at.year) == ("d1", 7, "d" * 64, 2026)
    assert (found.dag_id, found.run_id) == (task.dag_id, task.run_id)


def test_a_gate_that_failed_is_in_the_ledger_too(model: str, task: Any, validates: Callable[..., Any]) -> None:
    failed = validation(model, 1, passed=False)
    with pytest.raises(StepRefusedError, match=r"not below 0\.1\. Production stays"):
        validates(failed.to_dict(), 3)
    found = ledger(model).statements.validations[1].what
    assert (found.passed, found.failed, found.run_id) == (False, failed.failed, task.run_id)


@pytest.mark.parametrize("code", [1, 2, 7])
def test_a_step_that_broke_off_said_nothing(model: str, validates: Callable[..., Any], code: int) -> None:
    with pytest.raises(AirflowException, match=r"not below 0\.1"):
        validates(said(model), code)
    assert ledger(model).statements.validations == {}


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize(
    "wrong",
    [
        {"at": "yesterday"},
        {"at": None},
        {"at": "0001-01-01T00:00:00+14:00"},
        {"failed": 5},
        {"failed": "text"},
        {"version": "1"},
        {"version": 0},
        {"version": True},
        {"version": None},
        {"version": [1]},
        {"model": 5},
        {"model": ""},
        {"outcome": "maybe"},
        {"rows": "many"},
        {"value": 0.09},
        {"digest": None},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_a_validation_that_is_none_is_refused_and_not_entered(
    model: str, validates: Callable[..., Any], wrong: dict[str, Any], code: int
) -> None:
    with pytest.raises(StepRefusedError, match=r"Step say: .* no validation: ") as raised:
        validates(said(model, **wrong), code)
    assert "\n" not in str(raised.value)
    assert ledger(model).statements.validations == {}


@pytest.mark.parametrize("content", [[], "passed", 5, True, {}, {"outcome": "passed"}])
def test_something_else_in_its_place_is_refused(validates: Callable[..., Any], content: object) -> None:
    with pytest.raises(StepRefusedError, match="holds no validation"):
        validates(content)


@pytest.mark.parametrize(("verdict", "code", "stage"), [("warn", 0, "Staging"), ("fail", 3, "None")])
def test_what_a_review_said_is_in_the_ledger_and_moves_what_it_holds_back(
    module: dict[str, Any], mlflow: str, model: str, task: Any, verdict: Any, code: int, stage: str
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    said = Reviewed(model=model, version=version, verdict=verdict, dag_id="another", run_id="another").to_dict()
    notifiers.told.clear()
    told = [NotificationConfig(notifier="tests.plugins.notifiers.Recording")]
    step = ["say", json.dumps({"review": said}), str(code)]
    operator = PipelineStepOperator(step=step, notifications=told, model_name=model, **module)
    if code:
        with pytest.raises(StepRefusedError):
            operator.execute(task.context)
    else:
        operator.execute(task.context)
    found = ledger(model).review(version)
    assert found is not None
    assert (found.verdict, found.dag_id, found.run_id) == (verdict, task.dag_id, task.run_id)
    assert stage_of(mlflow, model, version) == stage
    assert [note["event"] for note in notifiers.told] == (["held_back"] if code else [])


@pytest.mark.parametrize("wrong", [{"verdict": "splendid"}, {"version": 0}, {"items": "none"}, {"unknown": 1}])
def test_a_review_that_is_none_is_refused_and_not_entered(
    module: dict[str, Any],
    mlflow: str,
    model: str,
    task: Any,
    wrong: dict[str, Any],
) -> None:
    content = {**Reviewed(model=model, version=1, verdict="pass").to_dict(), **wrong}
    operator = PipelineStepOperator(step=["say", json.dumps({"review": content})], model_name=model, **module)
    with pytest.raises(StepRefusedError, match="holds no review"):
        operator.execute(task.context)
    assert ledger(model).entries == ()


@pytest.mark.parametrize("own", ["another", ""])
def test_what_a_step_says_of_another_model_is_not_entered(
    module: dict[str, Any], mlflow: str, model: str, task: Any, own: str
) -> None:
    version = add_version(mlflow, model, stage="Staging")
    before = ledger(model).entries
    night = {"model": model, "version": 1, "day": "2026-03-01", "raised": [], "asked": "it drifts", "rollback": ""}
    for result in (
        {"validation": said(model)},
        {"review": Reviewed(model=model, version=version, verdict="fail").to_dict()},
        {"monitor": night},
    ):
        operator = PipelineStepOperator(step=["say", json.dumps(result)], model_name=own, **module)
        with pytest.raises(StepRefusedError, match="speaks of the model"):
            operator.execute(task.context)
    assert ledger(model).entries == before
    assert stage_of(mlflow, model, version) == "Staging"


def test_a_result_without_a_validation_enters_nothing(module: dict[str, Any]) -> None:
    for result in ({"version": 1}, {"validation": None}):
        assert execute(PipelineStepOperator(step=["say", json.dumps(result)], **module)) == result


def test_a_gate_whose_word_the_ledger_cannot_take_now_is_tried_again(
    model: str, validates: Callable[..., Any], connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    connect("mlflow_default", host="127.0.0.1", port=9)
    for code in (0, 3):
        with pytest.raises(RegistryFailedError) as raised:
            validates(said(model), code)
        assert not isinstance(raised.value, AirflowFailException)


# ---- its log, its arguments ----


def test_the_log_has_every_line_of_the_step(module: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[int, str]] = []
    operator = PipelineStepOperator(step=["exit", "2", "bad"], **module)
    logger = logging.getLogger("test.steps")
    monkeypatch.setattr(type(operator), "log", property(lambda _: logger))
    monkeypatch.setattr(logger, "handle", lambda record: lines.append((record.levelno, record.getMessage())))
    logger.setLevel(logging.INFO)
    with pytest.raises(StepRefusedError):
        execute(operator)
    assert (logging.WARNING, "2026-01-01 00:00:00 WARNING data: a warning") in lines
    assert (logging.INFO, "error: bad") in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": "pull"}, "list of words"),
        ({"step": []}, "list of words"),
        ({"step": ["pull", 3]}, "list of words"),
        ({"step": ["pull", "{{ params.note }}"]}, "not templated"),
        ({"step": ["pull"], "module": ""}, "name a Python module"),
    ],
)
def test_the_author_is_told_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PipelineStepOperator(**{"task_id": "toy", "module": "toy", **arguments})


def test_the_author_of_a_container_is_told_at_construction() -> None:
    with pytest.raises(ValueError, match="list of words"):
        ContainerStepOperator(task_id="toy", module="toy", image="toy", step="pull")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name a container image"):
        ContainerStepOperator(task_id="toy", module="toy", image=" ", step=["pull"])
    with pytest.raises(ValueError, match="memory"):
        ContainerConfig.model_validate({"steps": {"pull": {"memory": "much"}}})
    assert ContainerConfig.model_validate({"steps": {"pull": {"memory": "1g"}}}).limits_of("pull").memory_bytes == 2**30


def test_a_time_out_ends_the_step(module: dict[str, Any]) -> None:
    import signal

    def ring(*_: object) -> None:
        raise AirflowTaskTimeout("too long")

    before = signal.signal(signal.SIGALRM, ring)
    operator = PipelineStepOperator(step=["sleep"], **module)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        with pytest.raises(AirflowTaskTimeout):
            execute(operator)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert operator._child is not None
    process = operator._child._process
    assert process is not None
    assert process.poll() is not None


def test_a_step_is_given_nothing_of_another_run(module: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_ANOTHER_RUN:
        monkeypatch.setenv(name, "stale")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://stale")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "stale")
    env = execute(PipelineStepOperator(step=["environment"], **module))["env"]
    assert "stale" not in env.values()
    assert env["MLFLOW_REGISTRY_URI"] == env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_without_a_data_connection_nothing_is_added() -> None:
    assert data_environment(None) == {}
    assert data_environment("a connection that does not exist") == {}


def test_the_data_connection_may_set_the_variables_of_a_dvc_remote_only(connect: Callable[..., None]) -> None:
    connect("data", host="git@git.example.com:data.git", extra={"env": {"AWS_ACCESS_KEY_ID": "key", "DVC_X": "1"}})
    assert data_environment("data") == {
        "AWS_ACCESS_KEY_ID": "key",
        "DVC_X": "1",
        "RETRAIN_DATA_REGISTRY": "git@git.example.com:data.git",
    }
    connect("data", host="git.example.com/data.git", schema="https", extra={"env": {"LD_PRELOAD": "/x.so"}})
    with pytest.raises(ValueError, match="not set LD_PRELOAD"):
        data_environment("data")
    connect("data", host="git.example.com/data.git", extra={"remote": "s3"})
    with pytest.raises(ValueError, match="unknown extras remote"):
        data_environment("data")
    connect("data", host="git.example.com/data.git")
    assert data_environment("data") == {"RETRAIN_DATA_REGISTRY": "https://git.example.com/data.git"}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://bot:pa%2Fss@git.example.com/team/data.git", "https://git.example.com/team/data.git"),
        ("https://bot:pa%2Fss@git.example.com:8443/data", "https://git.example.com:8443/data"),
        ("http://bot:pa%2Fss@git.example.com/https", "https://git.example.com"),
        ("https://bot:pa%2Fss@[::1]:8443/data.git", "https://[::1]:8443/data.git"),
    ],
)
def test_the_data_connection_as_a_uri(monkeypatch: pytest.MonkeyPatch, uri: str, expected: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DATA", uri)
    assert data_environment("data") == {
        "RETRAIN_DATA_REGISTRY": expected,
        "RETRAIN_GIT_USERNAME": "bot",
        "RETRAIN_GIT_PASSWORD": "pa/ss",
    }


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("ssh://git@git.example.com/team/data.git", "ssh://git@git.example.com/team/data.git"),
        ("ssh://git@git.example.com:2222/team/data.git", "ssh://git@git.example.com:2222/team/data.git"),
        ("git://git.example.com/team/data.git", "git://git.example.com/team/data.git"),
        ("file:///srv/data", "/srv/data"),
        ("http://git.example.com/team/data.git", "https://git.example.com/team/data.git"),
        (json.dumps({"conn_type": "ssh", "host": "git.example.com:team/data.git", "login": "git"}),
         "git@git.example.com:team/data.git"),
        (json.dumps({"conn_type": "git", "host": "git@git.example.com:team/data.git"}),
         "git@git.example.com:team/data.git"),
    ],
)  # fmt: skip
def test_the_data_connection_speaks_what_it_says(monkeypatch: pytest.MonkeyPatch, uri: str, expected: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DATA", uri)
    assert data_environment("data")["RETRAIN_DATA_REGISTRY"] == expected


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://bot:s3cret@git.example.com/http", "says http, another https"),
        ("ssh://git@git.example.com", "names no repository"),
        (json.dumps({"conn_type": "generic", "host": "git.example.com:team/data.git"}), "host 'git.example.com:team'"),
        (json.dumps({"conn_type": "generic", "host": "git.example.com/x", "extra": "env"}), "must be a JSON object"),
        ("https://git.example.com/x?env=nonsense", "env must be an"),
    ],
)
def test_a_data_connection_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, uri: str, message: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DATA", uri)
    with pytest.raises(ValueError, match=message) as raised:
        data_environment("data")
    assert "'data'" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_uri_holds_the_variables_of_a_dvc_remote_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    env = quote(json.dumps({"AWS_ACCESS_KEY_ID": "key"}))
    monkeypatch.setenv("AIRFLOW_CONN_DATA", f"https://git.example.com/x?env={env}")
    assert data_environment("data")["AWS_ACCESS_KEY_ID"] == "key"


def test_secrets_of_the_data_connection_are_masked(connect: Callable[..., None]) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    connect("data", host="g.example.com/x", extra={"env": {"AZURE_STORAGE_KEY": "a-very-secret-key"}})
    data_environment("data")
    assert redact(json.dumps({"said": "key a-very-secret-key used"})) == json.dumps({"said": "key *** used"})


@pytest.mark.parametrize("stamp", ["", "2026-03-01 02:40:00,123 "])
@pytest.mark.parametrize(
    ("level", "logged"), [("INFO", "INFO"), ("WARNING", "WARNING"), ("ERROR", "ERROR"), ("CRITICAL", "ERROR")]
)
def test_a_line_has_its_own_level_with_and_without_a_time(
    caplog: pytest.LogCaptureFixture, stamp: str, level: str, logged: str
) -> None:
    log = logging.getLogger("a task")
    with caplog.at_level("DEBUG", "a task"):
        StepOutput(log, "pull").stderr(f"{stamp}{level} include.models.rossmann.data: an ERRORless line")
    (record,) = caplog.records
    assert record.levelname == logged
