"""What `make` does with the stack when it is not as it should be: one sentence, exit code 2, and nothing is touched."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stack_double import ROOT, Double

NEEDS_SETTINGS = [
    ("stack.sh", "up"), ("stack.sh", "down"), ("stack.sh", "logs"), ("stack.sh", "smoke"),
    ("stack.sh", "users", "anna:Op"), ("stack.sh", "cli", "history"), ("backup.sh", "saved"), ("restore.sh", "before"),
]  # fmt: skip
NEEDS_THE_STACK = [found for found in NEEDS_SETTINGS if found[1] in ("smoke", "users", "cli", "saved")]
CHANGES = ("compose up", "compose run", "compose exec", "compose down", "compose stop", "docker exec", "docker rm")
SAVES = {
    "airflow": "pg_dump.*airflow",
    "mlflow": "pg_dump.*mlflow",
    "artifacts": "mlflow tar",
    "predictions": "data sh",
}


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a refusal."""
    assert done.returncode == 2, done.stdout + done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: ")
    return sentence


def changed(double: Double) -> list[str]:
    """What was asked that could change something."""
    return [call for call in double.calls if call.startswith(CHANGES)]


@pytest.fixture(autouse=True)
def a_backup(double: Double) -> Path:
    folder = double.folder / "before"
    folder.mkdir()
    (folder / "SHA256SUMS").touch()
    return folder


@pytest.mark.parametrize("command", NEEDS_SETTINGS, ids=" ".join)
def test_without_settings(double: Double, command: tuple[str, ...]) -> None:
    (double.folder / ".env").unlink()
    sentence = refused(double.script(*command))
    assert ".env" in sentence
    assert "make env" in sentence
    assert changed(double) == []
    assert sorted(path.name for path in double.folder.iterdir()) == ["before", "docker-compose.yaml"]


@pytest.mark.parametrize("command", NEEDS_SETTINGS, ids=" ".join)
def test_without_an_engine(double: Double, command: tuple[str, ...]) -> None:
    (double.state / "away").touch()
    assert "engine does not answer" in refused(double.script(*command))
    assert changed(double) == []


@pytest.mark.parametrize("lacking", [["POSTGRES_PASSWORD"], ["POSTGRES_PASSWORD", "AIRFLOW_FERNET_KEY"]])
def test_settings_that_lack_something_are_told_what(double: Double, lacking: list[str]) -> None:
    double.settings |= dict.fromkeys(lacking, "")
    double.write_settings()
    sentence = refused(double.script("stack.sh", "smoke"))
    assert all(name in sentence for name in lacking)
    assert not [name for name in double.settings if name not in lacking and name in sentence]


def test_without_compose(double: Double) -> None:
    assert "docker-compose" in refused(double.script("stack.sh", "smoke", COMPOSE="no-such-compose"))


@pytest.mark.parametrize("command", NEEDS_THE_STACK, ids=" ".join)
@pytest.mark.parametrize("ended", [{}, {"postgres": "Exited (0) 2 hours ago"}])
def test_a_stack_that_is_not_up(double: Double, command: tuple[str, ...], ended: dict[str, str]) -> None:
    double.runs(**ended)
    assert "make up" in refused(double.script(*command))
    assert changed(double) == []


@pytest.mark.parametrize(
    ("command", "service"),
    [
        (("stack.sh", "smoke"), "worker"),
        (("stack.sh", "users", "anna:Op"), "mlflow"),
        (("stack.sh", "users", "anna:Op"), "apiserver"),
        (("stack.sh", "cli", "history"), "mlflow"),
        (("backup.sh", "saved"), "postgres"),
        (("backup.sh", "saved"), "data"),
    ],
)
def test_a_stack_of_which_a_part_is_away(double: Double, command: tuple[str, ...], service: str) -> None:
    others = [name for name in ("postgres", "mlflow", "data", "apiserver", "worker") if name != service]
    double.runs(*others, **{service: "Exited (137) 1 minute ago", "redis": "Up 2 minutes (unhealthy)"})
    sentence = refused(double.script(*command))
    assert f"no container of {service} runs" in sentence
    assert f"{service} ended with exit code 137" in sentence
    assert "redis is unhealthy" in sentence
    assert changed(double) == []
    assert not list(double.folder.glob("saved*"))


def test_the_check_is_run_by_a_worker_that_runs(double: Double) -> None:
    double.runs(worker="Exited (137) 1 minute ago")
    with (double.state / "containers").open("a") as out:
        out.write("worker running second Up 5 minutes\nworker running third Up 5 minutes\n")
    assert double.script("stack.sh", "smoke").returncode == 0
    assert double.calls[-1] == "docker exec second python /opt/retrain/deploy/smoke.py"


def test_images_come_before_the_stack(double: Double) -> None:
    (double.state / "images").write_text("retrain-engine:latest\nretrain-airflow:latest\n")
    sentence = refused(double.script("stack.sh", "up"))
    assert "retrain-mlflow:latest, retrain-trainer:latest" in sentence
    assert "make images" in sentence
    assert "airflow" not in sentence
    assert changed(double) == []


def test_the_stack_starts_with_as_many_workers_as_asked(double: Double) -> None:
    double.runs()
    assert double.script("stack.sh", "up", WORKERS_UP="3").returncode == 0
    asked = [call for call in double.calls if "psql" in call]
    assert [name for name in ("airflow", "mlflow") if any(f"-U {name} -d {name}" in call for call in asked)] == [
        "airflow",
        "mlflow",
    ]
    assert double.calls[-1] == "compose up --detach --scale worker=3"


@pytest.mark.parametrize("user", ["airflow", "mlflow"])
@pytest.mark.parametrize("before", [(), ("postgres", "mlflow")])
def test_volumes_of_other_settings(double: Double, user: str, before: tuple[str, ...]) -> None:
    said = f'psql: error: connection failed: FATAL:  password authentication failed for user "{user}"'
    double.program("within", f"#!/bin/bash\n[[ $* != *psql*{user}* ]] || {{ echo '{said}' >&2; exit 2; }}\n")
    double.runs(*before)
    sentence = refused(double.script("stack.sh", "up"))
    assert f'password authentication failed for user "{user}"' in sentence
    assert "COMPOSE_PROJECT_NAME" in sentence
    assert "make down ARGS=--volumes" in sentence
    assert not [call for call in double.calls if "--scale" in call]
    # what was started to ask it goes, unless it ran before
    assert ("compose down" in double.calls) is (not before)


def test_a_start_that_fails_says_what_init_said(double: Double) -> None:
    double.program("up", "#!/bin/bash\n[[ $* != *--scale* ]] || { echo 'exited with code 1' >&2; exit 1; }\n")
    double.program(
        "logs", "#!/bin/bash\n[ ${*: -1} != init ] || printf 'init_1 | hello\\ninit_1 | error: wrong password\\n'\n"
    )
    done = double.script("stack.sh", "up")
    assert done.returncode == 2
    compose, sentence = done.stderr.splitlines()
    assert compose == "exited with code 1"
    assert "init says: wrong password" in sentence


def test_down_hands_on_what_compose_is_asked(double: Double) -> None:
    assert double.script("stack.sh", "down", "--volumes").returncode == 0
    assert double.calls[-1] == "compose down --volumes"


def test_the_command_line_works_in_this_folder_as_this_user(double: Double) -> None:
    assert double.script("stack.sh", "cli", "rollback", "--reason", "too high").returncode == 0
    call = double.calls[-1]
    assert call.startswith("compose run --rm -T --no-deps ")
    assert call.endswith("cli rollback --reason too high")
    assert f"--user {os.getuid()}:{os.getgid()} " in call
    assert f"--volume {double.folder}:/work --workdir /work" in call


@pytest.mark.parametrize("words", [[], ["walk"]])
def test_an_unknown_command(double: Double, words: list[str]) -> None:
    assert "knows up, down" in refused(double.script("stack.sh", *words))
    assert double.calls == []


@pytest.mark.parametrize("what", SAVES)
def test_a_backup_that_fails_says_at_what_and_leaves_nothing(double: Double, what: str) -> None:
    double.program(
        "within",
        f"#!/bin/bash\n[[ ! $* =~ {SAVES[what].replace(' ', '.*')} ]] || {{ echo full >&2; exit 1; }}\necho x\n",
    )
    done = double.script("backup.sh", "saved")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "full"
    assert what in done.stderr.splitlines()[-1]
    assert not list(double.folder.glob("saved*"))


def test_a_backup_that_is_interrupted_leaves_nothing(double: Double) -> None:
    double.program("within", "#!/bin/bash\ntouch $DOUBLE/asked\nexec sleep 30\n")
    command = [str(ROOT / "deploy/backup.sh"), "saved"]
    with subprocess.Popen(
        command, cwd=double.folder, env=double.environment, start_new_session=True, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 10
        while not (double.state / "asked").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 143
    assert b"nothing of it is left" in said
    assert not list(double.folder.glob("saved*"))


@pytest.mark.parametrize(("words", "named"), [([], "TO=FOLDER"), ([""], "TO=FOLDER"), (["before"], "before is there")])
def test_a_backup_without_a_place(double: Double, words: list[str], named: str) -> None:
    assert named in refused(double.script("backup.sh", *words))
    assert double.calls == []


@pytest.mark.parametrize("place", ["saved/", "saved//"])
def test_a_backup_whose_place_ends_in_a_slash(double: Double, place: str) -> None:
    assert double.script("backup.sh", place).returncode == 0
    assert (double.folder / "saved/SHA256SUMS").exists()


@pytest.mark.parametrize(("place", "named"), [("", "FROM=FOLDER"), ("nowhere", "nowhere"), (".", "no backup")])
def test_what_is_no_backup_is_not_restored(double: Double, place: str, named: str) -> None:
    assert named in refused(double.script("restore.sh", place))
    assert double.calls == []


def test_a_backup_that_was_changed_is_not_restored(double: Double, a_backup: Path) -> None:
    (a_backup / "airflow.dump").write_text("changed")
    (a_backup / "SHA256SUMS").write_text(f"{'0' * 64}  airflow.dump\n")
    done = double.script("restore.sh", "before")
    assert done.returncode == 2
    assert "airflow.dump" in done.stdout + done.stderr
    assert "nothing was restored" in done.stderr.splitlines()[-1]
    assert changed(double) == []


def test_make_smoke_ends_as_the_check_does(double: Double) -> None:
    shutil.copytree(ROOT / "deploy", double.folder / "deploy")
    double.runs()
    done = subprocess.run(
        ["make", "-s", "-f", str(ROOT / "Makefile"), "smoke", "COMPOSE=compose"],
        capture_output=True, text=True, check=False, cwd=double.folder, env=double.environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: the stack is not up" in done.stderr


def test_a_part_that_starts_again_and_again_is_named(double: Double) -> None:
    double.runs("postgres", "mlflow", "data", "apiserver")
    with (double.state / "containers").open("a") as out:
        out.write("worker restarting id-of-worker Restarting (1) 3 seconds ago\n")
    assert "worker starts again and again" in refused(double.script("stack.sh", "smoke"))
