import io
from datetime import UTC, datetime, timedelta

import pytest

from local_stack.airflow_api import RunState, TaskState
from local_stack.progress import Outcome, Printer, RunProgress, duration

START = datetime(2026, 1, 1, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class FakeApi:
    def __init__(self):
        self.state = "running"
        self.now = []

    def run(self, dag_id, run_id):
        return RunState(run_id, self.state, {})

    def tasks(self, dag_id, run_id):
        return self.now

    def error_of(self, dag_id, run_id, task):
        return "error: no data"


def task(task_id, state, *, tries=1, seconds=None):
    end = START + timedelta(seconds=seconds) if seconds is not None else None
    return TaskState(task_id, state, tries, 3, START, end)


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def progress(api, output):
    return RunProgress(api, "d", "r", Printer(output), "await_approval")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1:00"), (187, "3:07"), (3723, "1:02:03")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_each_change_is_one_line(api, output, progress):
    for state, seconds in (("queued", None), ("running", None), ("running", None), ("success", 18)):
        api.now = [task("pull", state, seconds=seconds)]
        progress.update()
    lines = [line.split(None, 2)[2] for line in output.getvalue().splitlines()]
    assert lines == ["pull             running", "pull             done after 18 s"]


def test_a_retry_says_why_and_which_attempt(api, output, progress):
    api.now = [task("train", "up_for_retry", seconds=5)]
    progress.update()
    api.now = [task("train", "running", tries=2)]
    progress.update()
    assert "failed, will be tried again after 5 s: error: no data" in output.getvalue()
    assert "running (attempt 2 of 4)" in output.getvalue()


def test_waiting_for_a_person_is_an_outcome(api, progress):
    api.now = [task("await_approval", "deferred")]
    assert progress.update() is Outcome.WAITING


@pytest.mark.parametrize("state", ["success", "failed"])
def test_the_end_of_the_run_is_an_outcome(api, progress, state):
    api.state = state
    api.now = [task("pull", state, seconds=1)]
    assert progress.update() == state


def test_the_first_failure_comes_first(api, progress):
    api.state = "failed"
    api.now = [
        task("b", "failed", seconds=9),
        task("a", "failed", seconds=3),
        task("c", "upstream_failed", seconds=10),
    ]
    progress.update()
    assert [failure.task_id for failure in progress.failures()] == ["a", "b"]


def test_no_control_characters_off_a_terminal(output):
    printer = Printer(output)
    printer.status("ticking")
    printer.line("done")
    assert output.getvalue() == "done\n"


def test_a_terminal_rewrites_its_last_line():
    terminal = Terminal()
    printer = Printer(terminal)
    printer.status("train 1 s")
    printer.line("train done")
    assert terminal.getvalue() == "\r\x1b[2Ktrain 1 s\r\x1b[2Ktrain done\n"
