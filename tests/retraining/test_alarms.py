"""Alarms and requests: raised once, cleared calmly, one retrain at a time."""

from dataclasses import replace

import pandas as pd
import pytest

from include.retraining.config.monitor import FlappingConfig, MonitorConfig, RequestConfig
from include.retraining.monitor.alarms import AlarmState, Step, close_request, step
from include.retraining.monitor.signals import Signal
from tests.monitor_replay import rate_per_year, replay
from tests.retraining.monitored import day

CONFIG = MonitorConfig(flapping=FlappingConfig(bad=2, of=5, calm=4), request=RequestConfig(quiet_days=10, open_days=14))


def signal(number: int, verdict: str = "bad", kind: str = "error", subject: str = "", **values: object) -> Signal:
    bad, calm = verdict == "bad", verdict == "calm"
    found = Signal(kind, subject, day(number), 14, bad, calm, 0.2, 0.1, f"{kind} {subject} on {number}.")  # type: ignore[arg-type]
    return replace(found, **values)  # type: ignore[arg-type]


def nights(verdicts: str, state: AlarmState | None = None, first: int = 0, **values: str) -> list[Step]:
    """Take a night for each letter: b is bad, c calm, anything else between."""
    state, steps = state or AlarmState(), []
    for number, letter in enumerate(verdicts, start=first):
        verdict = {"b": "bad", "c": "calm"}.get(letter, "between")
        steps.append(step(state, [signal(number, verdict, **values)], CONFIG, today=day(number)))
        state = steps[-1].state
    return steps


@pytest.mark.parametrize(
    ("verdicts", "raised"),
    [
        ("cccbcccc", None),  # one window is not enough
        ("bb", 1),
        ("bcccb", 4),  # two of five and the newest
        ("bccccb", None),  # two of six
        ("bbccc", 1),
        ("b-b", 2),
    ],
)
def test_two_of_five_windows_and_the_newest_raise_an_alarm(verdicts, raised):
    found = [number for number, taken in enumerate(nights(verdicts)) if taken.raised]
    assert found == ([] if raised is None else [raised])


def test_the_newest_window_has_to_be_bad():
    state = nights("b")[-1].state
    late = step(state, [signal(-1), signal(1, "calm")], CONFIG, today=day(1))
    assert not late.raised
    corrected = step(state, [signal(-1)], CONFIG, today=day(1))
    assert corrected.raised == ("error",)


def test_an_alarm_does_not_flap_and_is_cleared_after_calm_windows():
    steps = nights("bb" + "cccb" * 5 + "ccc-ccc" + "cccc")
    assert [number for number, taken in enumerate(steps) if taken.raised] == [1]
    assert [number for number, taken in enumerate(steps) if taken.cleared] == [29]
    assert sum(taken.asked is not None for taken in steps) == 1
    assert steps[-1].state.raised == []


def test_a_window_that_is_judged_again_does_not_count_twice():
    state = nights("b")[-1].state
    again = step(state, [signal(0)], CONFIG, today=day(1))
    assert not again.raised
    third = step(again.state, [signal(0)], CONFIG, today=day(2))
    assert not third.raised
    corrected = step(third.state, [signal(0, "calm")], CONFIG, today=day(3))
    assert not step(corrected.state, [signal(1)], CONFIG, today=day(4)).raised


def test_a_night_taken_twice_is_the_same_night():
    state = nights("cb")[-1].state
    once = step(state, [signal(2)], CONFIG, today=day(2))
    twice = step(once.state, [signal(2)], CONFIG, today=day(2))
    assert (once.asked is not None, twice.asked) == (True, None)
    assert once.state == twice.state


def test_the_worst_window_of_a_night_is_told():
    mild, worse = signal(1, value=0.15), signal(1, window=28, value=0.3, sentence="Worse.")
    taken = step(nights("b")[-1].state, [signal(1, "calm", value=0.9), mild, worse], CONFIG, today=day(1))
    assert taken.asked is not None
    assert taken.asked.reasons == ("Worse.",)


def test_an_alarm_that_is_not_judged_stays_as_it_is():
    state = nights("bb")[-1].state
    for number in range(2, 30):
        taken = step(state, [], CONFIG, today=day(number))
        assert not taken.cleared
        state = taken.state
    assert state.raised == ["error"]


def test_an_alarm_that_cannot_be_judged_any_more_is_forgotten():
    state = nights("bb")[-1].state
    quiet = [signal(61, "calm", kind="bias")]
    assert step(state, quiet, CONFIG, today=day(61)).state.raised == ["error"]
    taken = step(state, quiet, CONFIG, today=day(62))
    assert taken.cleared == ("error",)
    assert list(taken.state.alarms) == ["bias"]


def test_what_is_waited_for_long_is_neither_forgotten_nor_asked_for_twice():
    """A night of the hundredth day tells of the tenth where actuals are due after 90 days."""
    state = step(AlarmState(), [signal(9)], CONFIG, today=day(99), due_days=90).state
    state = step(state, [signal(10)], CONFIG, today=day(100), due_days=90).state
    assert state.raised == ["error"]
    assert step(AlarmState(), [signal(9), signal(10)], CONFIG, today=day(100)).state.raised == []
    assert step(state, [], CONFIG, today=day(159), due_days=90).state.raised == ["error"]
    assert step(state, [], CONFIG, today=day(160), due_days=90).state.raised == []
    # the retrain has ended, and its version tells nothing yet: what comes belongs to the same cause
    closed = close_request(state, today=day(102))
    for number in (50, 51):
        taken = step(closed, [signal(number, kind="bias")], CONFIG, today=day(number + 90), due_days=90)
        closed = taken.state
    assert (taken.asked, taken.joined) == (None, ("bias",))


def test_only_one_request_is_open_and_later_alarms_join_it():
    state = nights("bb")[-1].state
    later = nights("bb", state, first=2, kind="bias")[-1]
    assert later.raised == later.joined == ("bias",)
    assert later.asked is None
    request = later.state.request
    assert request is not None
    assert request.opened == "2024-01-02"
    assert request.alarms == ("error", "bias")
    assert request.reasons == ("error  on 1.", "bias  on 3.")
    # quiet days are over, but it is still open
    still = nights("bb", state, first=12, kind="bias")[-1]
    assert still.asked is None
    assert still.joined == ("bias",)


def test_an_alarm_soon_after_a_retrain_belongs_to_it_and_a_later_one_asks_again():
    closed = close_request(nights("bb")[-1].state, today=day(3))
    soon = nights("bb", closed, first=9, kind="bias")[-1]
    assert soon.asked is None
    assert soon.joined == ("bias",)
    late = nights("bb", closed, first=12, kind="bias")[-1]
    assert late.asked is not None
    assert late.asked.alarms == ("bias",)


def test_an_alarm_that_stays_asks_once():
    state, asked = AlarmState(), 0
    for number in range(60):
        taken = step(state, [signal(number), signal(number, kind="bias")], CONFIG, today=day(number))
        asked += taken.asked is not None
        state = close_request(taken.state, today=day(number)) if number % 3 == 0 else taken.state
    assert asked == 1


def test_a_request_that_nobody_closes_does_not_block_for_good():
    state = nights("bb")[-1].state
    later = nights("bb", state, first=20, kind="bias")[-1]
    assert later.asked is not None
    assert close_request(later.state, today=day(22)).request == replace(later.asked, closed="2024-01-23")


def test_kinds_that_do_not_ask_are_told_only():
    config = CONFIG.model_copy(update={"request": RequestConfig(kinds=frozenset({"error"}))})
    state = step(AlarmState(), [signal(0, kind="late")], config, today=day(0)).state
    taken = step(state, [signal(1, kind="late")], config, today=day(1))
    assert taken.raised == ("late",)
    assert taken.asked is None
    assert taken.state.request is None


def test_subjects_are_alarms_of_their_own():
    one = step(AlarmState(), [signal(0, subject="deal 1")], CONFIG, today=day(0)).state
    assert not step(one, [signal(1, subject="deal 0")], CONFIG, today=day(1)).raised
    assert step(one, [signal(1, subject="deal 1")], CONFIG, today=day(1)).raised == ("error: deal 1",)


@pytest.mark.parametrize("verdicts", ["", "b", "bb", "bbcccc", "bb-c"])
def test_the_state_survives_as_text(verdicts):
    state = nights(verdicts)[-1].state if verdicts else AlarmState()
    read = AlarmState.from_json(state.to_json())
    assert read == state
    ours, theirs = (step(known, [signal(30), signal(31)], CONFIG, today=day(31)) for known in (state, read))
    assert ours == theirs


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 9}',
        '{"format": 1, "alarms": {}}',
        '{"format": 1, "alarms": 3, "request": null}',
        '{"format": 1, "alarms": {"late": {"kind": "late", "since": 1}}, "request": null}',
    ],
)
def test_text_that_is_no_state_is_refused(text):
    with pytest.raises(ValueError):
        AlarmState.from_json(text)


def test_bad_cannot_be_more_than_all():
    with pytest.raises(ValueError, match=r"bad \(6\) .* of \(5\)"):
        FlappingConfig(bad=6, of=5)


def test_a_replay_tells_when_a_fault_was_noticed_and_how_often_a_retrain_was_asked():
    def judge(today: pd.Timestamp) -> list[Signal]:
        number = (today - day(0)).days
        return [signal(number, "bad" if number >= 20 else "calm")]

    found = replay(pd.date_range(day(0), day(60)), judge, CONFIG)
    assert found.nights == 61
    assert found.after(day(20)) == 1
    assert found.after(day(22)) is None
    assert [request.opened for request in found.requests] == [f"{day(21):%Y-%m-%d}"]


def test_a_rate_has_the_exact_interval_of_poisson():
    rate, low, high = rate_per_year(3, 365)
    assert rate == pytest.approx(3.0, rel=0.01)
    assert (low, high) == (pytest.approx(0.619, rel=0.01), pytest.approx(8.77, rel=0.01))
    assert rate_per_year(0, 365)[:2] == (0, 0)


def test_the_raised_alarms_in_words():
    steps = nights("bb" + "c" * 8)
    assert steps[0].state.text == ""
    assert steps[1].state.text == f"error since {day(1):%Y-%m-%d}"
    assert steps[-1].state.text == ""
