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
