"""The operator that runs a step in a container, on a real Docker engine.

The steps are statements that ``python -m timeit`` runs, in the trainer image or the one that RETRAIN_TEST_IMAGE names.
"""

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from airflow.configuration import conf

from include.lifecycle.config.containers import ContainerLimits
from model_registry.exceptions import StepFailedError, StepRefusedError
from model_registry.steps.containers import LABEL, ContainerStepOperator
from tests.plugins.asking import ledger
from tests.validations import validation

pytestmark = pytest.mark.docker

IMAGE = os.environ.get("RETRAIN_TEST_IMAGE", "retrain-trainer:latest")
TASK = f"toy-{uuid.uuid4().hex[:8]}"
"""Of this process alone: others may run these tests on the same engine."""
LIMITS = ContainerLimits(memory="128m", cpus=0.5, scratch="8m", processes=64)
TELL = """
import json, os, pathlib, sys
def refused(path):
    try: pathlib.Path(path).write_text('x')
    except OSError as error: return error.strerror
status = dict(line.split(':', 1) for line in pathlib.Path('/proc/self/status').read_text().splitlines())
print('noise'); print('2026-01-01 00:00:00 WARNING data: odd', file=sys.stderr)
print(json.dumps({'env': dict(os.environ), 'uid': os.getuid(), 'root': refused('/opt/x'), 'scratch': refused('/tmp/x'),
    'capabilities': status['CapEff'].strip(), 'no_new': status['NoNewPrivs'].strip(),
    'socket': os.path.exists('/var/run/docker.sock')})); sys.stdout.flush(); os._exit(0)
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.from_env()) as client:
        yield client


@pytest.fixture
def step(connect: Callable[..., None]) -> Callable[..., ContainerStepOperator]:
    connect("mlflow_default", host="mlflow", port=5000, login="me", password="pw-of-mlflow")

    def make(statement: str, **arguments: Any) -> ContainerStepOperator:
        words = ["-n", "1", "-r", "1", statement]
        return ContainerStepOperator(
            **{"task_id": TASK, "image": IMAGE, "module": "timeit", "limits": LIMITS, "step": words, **arguments}
        )

    return make


def ours(engine: docker.DockerClient) -> list[Any]:
    return engine.containers.list(all=True, filters={"label": f"{LABEL}.task={TASK}"})


@pytest.fixture(autouse=True)
def nothing_left(engine: docker.DockerClient) -> Iterator[None]:
    yield
    assert ours(engine) == []


@pytest.fixture
def context(task: Any) -> Any:
    task.task_id = TASK
    return task.context


def test_a_step_gets_its_environment_and_nothing_more(
    step: Any, context: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret")
    monkeypatch.setenv("RETRAIN_LEDGER_KEY", "k" * 64)
    typed = "$(touch /tmp/pwned); {{ 7 * 7 }} 'q'"
    result = step(TELL, env={"RETRAIN_NOTE": typed, "LEFT_OUT": None}).execute(context)
    assert result["env"]["RETRAIN_NOTE"] == typed
    assert result["env"]["MLFLOW_TRACKING_PASSWORD"] == "pw-of-mlflow"
    assert not {"LEFT_OUT", "AIRFLOW__CORE__FERNET_KEY", "RETRAIN_LEDGER_KEY"} & result["env"].keys()
    assert result["env"]["RETRAIN_IN_AIRFLOW"] == "1"
    assert result["uid"] != 0
    assert result["root"] == "Read-only file system"
    assert result["scratch"] is None
    assert (result["capabilities"].strip("0"), result["no_new"], result["socket"]) == ("", "1", False)
    assert "data: odd" in capsys.readouterr().out


def test_limits_and_labels_are_the_engines(
    step: Any, context: Any, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = step("import time; time.sleep(60)")

    def run() -> None:
        with contextlib.suppress(StepFailedError):
            operator.execute(context)

    runner = threading.Thread(target=run)
    runner.start()
    (container,) = wait_for(lambda: [found for found in ours(engine) if found.status == "running"])
    config = container.attrs["HostConfig"]
    assert (config["Memory"], config["NanoCpus"], config["PidsLimit"]) == (128 * 1024**2, 500_000_000, 64)
    assert (config["ReadonlyRootfs"], config["CapDrop"], config["Privileged"]) == (True, ["ALL"], False)
    assert config["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "1"}
    assert container.labels[f"{LABEL}.run"] == context["ti"].run_id
    assert container.labels[f"{LABEL}.try"] == "1"
    assert container.labels[f"{LABEL}.deployment"] == conf.get("api", "base_url", fallback="")
    operator.on_kill()
    runner.join(30)
    assert not runner.is_alive()
    assert "stays" not in capsys.readouterr().out  # though two removed it


def wait_for(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (1, StepFailedError, "the reason. Airflow tries"),
        (2, StepRefusedError, "the reason. Correct what"),
        (3, StepRefusedError, "the reason. Production stays"),
    ],
)
def test_exit_codes(step: Any, context: Any, code: int, error: type[Exception], message: str) -> None:
    said = f"import os, sys; print('error: the reason', file=sys.stderr); sys.stderr.flush(); os._exit({code})"
    with pytest.raises(error, match=message):
        step(said).execute(context)


@pytest.mark.parametrize(("code", "passed"), [(0, True), (3, False)])
def test_what_the_gate_said_is_in_the_ledger(
    step: Any, context: Any, mlflow: str, model: str, code: int, passed: bool
) -> None:
    result = json.dumps({"validation": validation(model, 1, passed=passed).to_dict()})
    operator = step(f"import os, sys; print({result!r}); sys.stdout.flush(); os._exit({code})", model_name=model)
    if passed:
        operator.execute(context)
    else:
        with pytest.raises(StepRefusedError, match="Production stays"):
            operator.execute(context)
    found = ledger(model).statements.validations[1].what
    assert (found.passed, found.dag_id, found.run_id) == (passed, context["ti"].dag_id, context["ti"].run_id)


def test_a_validation_that_is_none_is_refused(step: Any, context: Any, mlflow: str, model: str) -> None:
    result = json.dumps({"validation": {"model": model, "version": 1}})
    with pytest.raises(StepRefusedError, match="holds no validation"):
        step(f"import os, sys; print({result!r}); sys.stdout.flush(); os._exit(0)").execute(context)
    assert ledger(model).statements.validations == {}


def test_what_a_step_says_of_another_model_is_not_entered(step: Any, context: Any, mlflow: str, model: str) -> None:
    result = json.dumps({"validation": validation(model, 1).to_dict()})
    said = f"import os, sys; print({result!r}); sys.stdout.flush(); os._exit(0)"
    with pytest.raises(StepRefusedError, match="speaks of the model"):
        step(said, model_name="another").execute(context)
    assert ledger(model).entries == ()


def test_out_of_memory_names_the_limit(step: Any, context: Any) -> None:
    with pytest.raises(StepFailedError, match="128m of memory"):
        step("x = bytearray(512 * 1024 ** 2)").execute(context)


def test_a_full_scratch_space_is_the_steps_own_error(step: Any, context: Any) -> None:
    fill = """
import os, sys
try: open('/tmp/x', 'wb').write(bytes(16 * 1024 ** 2))
except OSError as error: print('error:', error, file=sys.stderr); sys.stderr.flush(); os._exit(1)
"""
    with pytest.raises(StepFailedError, match="No space left"):
        step(fill).execute(context)


def test_what_is_no_result(step: Any, context: Any) -> None:
    with pytest.raises(StepRefusedError, match="one JSON object"):
        step("pass").execute(context)


def test_a_missing_image_and_an_engine_that_is_down(step: Any, context: Any) -> None:
    with pytest.raises((StepRefusedError, StepFailedError), match=r"image no/such:image"):
        step("pass", image="no/such:image").execute(context)
    with pytest.raises(StepFailedError, match=r"tcp://127\.0\.0\.1:9 does not answer"):
        step("pass", docker_url="tcp://127.0.0.1:9").execute(context)


def test_what_a_killed_worker_left_is_removed_first(step: Any, context: Any, engine: Any) -> None:
    ti = context["ti"]
    labels = {f"{LABEL}.dag": ti.dag_id, f"{LABEL}.run": ti.run_id, f"{LABEL}.task": TASK, f"{LABEL}.map_index": "-1"}
    labels[f"{LABEL}.deployment"] = conf.get("api", "base_url", fallback="")
    of_others = [{**labels, f"{LABEL}.run": "other"}, {**labels, f"{LABEL}.deployment": "https://other.example"}]
    sleep = ["python", "-c", "import time; time.sleep(600)"]
    left, *others = (engine.containers.run(IMAGE, sleep, labels=labels, detach=True) for labels in (labels, *of_others))
    try:
        step(TELL).execute(context)
        assert {container.id for container in ours(engine)} == {container.id for container in others}
        assert left.id not in {container.id for container in engine.containers.list(all=True)}
    finally:
        for other in others:
            other.remove(force=True)
