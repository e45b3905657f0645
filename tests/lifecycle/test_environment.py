"""Environment variables that several threads need at once."""

import os
import threading

import pytest

from include.lifecycle.environment import shared_environment


def test_threads_that_want_the_same_share_it_and_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED", "before")
    monkeypatch.delenv("OTHER", raising=False)
    inside, leave, seen = threading.Barrier(3), threading.Event(), []

    def hold() -> None:
        with shared_environment({"SHARED": "ours", "OTHER": None}):
            inside.wait(10)
            leave.wait(10)
            seen.append(os.environ["SHARED"])

    def want_another() -> None:
        with shared_environment({"SHARED": "theirs", "OTHER": "1"}):
            seen.append(os.environ["SHARED"] + os.environ["OTHER"])

    holders = [threading.Thread(target=hold) for _ in range(2)]
    other = threading.Thread(target=want_another)
    for thread in holders:
        thread.start()
    inside.wait(10)
    other.start()
    other.join(0.2)
    assert other.is_alive(), "it waits for its turn"
    leave.set()
    for thread in (*holders, other):
        thread.join(10)
    assert seen == ["ours", "ours", "theirs1"]
    assert os.environ["SHARED"] == "before"
    assert "OTHER" not in os.environ


def test_it_is_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHARED", raising=False)
    with pytest.raises(RuntimeError), shared_environment({"SHARED": "x"}):
        raise RuntimeError
    assert "SHARED" not in os.environ


def test_threads_that_want_other_variables_do_not_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHARED", "OURS", "THEIRS"):
        monkeypatch.delenv(name, raising=False)
    with shared_environment({"SHARED": "1", "OURS": "a"}):
        thread = threading.Thread(target=_look, args=({"SHARED": "1", "THEIRS": "b"}, seen := []))
        thread.start()
        thread.join(10)
        assert seen == [("1", "a", "b")]
        assert "THEIRS" not in os.environ
        assert os.environ["SHARED"] == "1", "it is still wanted"
    assert not {"SHARED", "OURS", "THEIRS"} & set(os.environ)


def _look(wanted: dict[str, str | None], seen: list[tuple[str | None, ...]]) -> None:
    with shared_environment(wanted):
        seen.append(tuple(os.environ.get(name) for name in ("SHARED", "OURS", "THEIRS")))


def test_what_no_variable_can_hold_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHARED", raising=False)
    with pytest.raises(ValueError, match="null byte"), shared_environment({"SHARED": "x", "OTHER": "pass\0word"}):
        pass
    assert "SHARED" not in os.environ
    with shared_environment({"SHARED": "y"}):
        assert os.environ["SHARED"] == "y", "it is free"
    assert "SHARED" not in os.environ
