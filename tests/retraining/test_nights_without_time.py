"""Nights of a classifier without time: customers who are asked about for some nights, until it is known who left."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from include.retraining.config.monitor import CoverageConfig, MonitorConfig
from include.retraining.monitor.rows import DELIVERED, MADE, PREDICTION, PUBLISHED, PUBLISHED_ON, VERSION, Publication
from include.retraining.monitor.signals import Signal
from include.retraining.monitor.watch import Known, watch
from tests.monitor_replay import Replay, replay
from tests.retraining.classifier import MODEL, auc, customers
from tests.retraining.monitored import day

pytestmark = pytest.mark.long

LOT, BEFORE = 40, 3000
"""Customers who are new each night, and those who are known when the first version learns."""
CONFIG = MonitorConfig.model_validate(
    {"error": {"worse_by": 0.1, "replicates": 200}, "bias": {"limit": 0.2, "slice_limit": 0.4}}
)
VALIDATION = {1: 0.85}


@dataclass(frozen=True)
class Nights:
    """What is stored, night by night.

    :param people: customers in the order in which they come, and who of them leaves
    :param wait: nights until it is known who left
    :param asked: nights for which a customer is asked about, again and again
    :param unknown_from: from this night on nothing becomes known
    :param unasked_from: from this night on every second customer is not asked about
    :param worse_from: from this night on the predictions tell nothing
    """

    people: pd.DataFrame
    wait: int = 3
    asked: int = 3
    unknown_from: int = 10**6
    unasked_from: int = 10**6
    worse_from: int = 10**6

    def rows_of(self, night: int) -> pd.DataFrame:
        """Return the customers who are asked about in a night."""
        come = np.arange(len(self.people)) - BEFORE
        first = come // LOT
        part = self.people[(first >= max(night - self.asked + 1, 0)) & (first <= night) & (come >= 0)]
        return part if night < self.unasked_from else part[part["Customer"] % 2 == 0]

    def known_at(self, night: int) -> pd.DataFrame:
        """Return who is known to have left, or not, in a night."""
        come = np.arange(len(self.people)) - BEFORE
        arrives = np.where(come < 0, -1, come // LOT + self.wait)
        known = self.people[(arrives <= night) & (arrives < self.unknown_from)]
        there = pd.Series(arrives[(arrives <= night) & (arrives < self.unknown_from)], known.index)
        return known.assign(**{DELIVERED: pd.Series(day(0), known.index) + pd.to_timedelta(there, unit="D")})

    def predictions(self, night: int) -> pd.DataFrame:
        """Return what was predicted up to a night."""
        return pd.concat([self._predicted(number) for number in range(night + 1)], ignore_index=True)

    def _predicted(self, night: int) -> pd.DataFrame:
        rows = self.rows_of(night)
        score = 0.6 * (rows["Calls"] - 3) - 0.05 * (rows["Months"] - 30)
        if night >= self.worse_from:
            score = score.sample(frac=1, random_state=night).set_axis(score.index)
        told = {
            PREDICTION: 1 / (1 + np.exp(-1.7 * score)),
            VERSION: 1,
            PUBLISHED_ON: day(night),
            MADE: day(night + 0.2),
        }
        return rows[["Customer"]].assign(**told)


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return customers(BEFORE + LOT * 80, seed=3)


def judged(nights: Nights, night: int, config: MonitorConfig = CONFIG, **more: object) -> list[Signal]:
    known = Known([Publication(1, day(0))], VALIDATION, None)
    asked = nights.rows_of(night).drop(columns="Left")
    given = {"schedule": asked, **more}
    return watch(nights.predictions(night), nights.known_at(night), known, MODEL, config, today=day(night), **given)  # type: ignore[arg-type]


def replayed(nights: Nights, first: int, last: int, config: MonitorConfig = CONFIG) -> Replay:
    return replay(
        pd.date_range(day(first), day(last)),
        lambda today: judged(nights, (today - day(0)).days, config),
        config,
        due_days=config.coverage.wait_days,
    )


def bad(signals: list[Signal]) -> set[str]:
    return {signal.key for signal in signals if signal.bad}


@pytest.mark.parametrize(
    ("wait", "asked"),
    [
        (1, 1),  # asked about once, known in the next night
        (3, 3),  # asked about until it is known
        (20, 1),  # asked about once, and known after weeks
        (12, 4),
        (60, 1),  # not known at all in these nights, and due much later
    ],
)
def test_quiet_nights_raise_nothing(people: pd.DataFrame, wait: int, asked: int) -> None:
    config = CONFIG.model_copy(update={"coverage": CoverageConfig(wait_days=max(28, wait))})
    found = replayed(Nights(people, wait, asked), 0, 45, config)
    assert found.nights == 46
    assert found.raised == ()
    assert found.requests == ()


def test_a_static_registry_is_quiet(people: pd.DataFrame) -> None:
    """The same customers are asked about every night, and nobody learns more."""
    nights = Nights(people.iloc[: BEFORE + LOT], wait=10**5, asked=10**5)
    assert replayed(nights, 0, 45).raised == ()


@pytest.mark.parametrize(("wait", "asked"), [(3, 3), (20, 1)])
def test_actuals_that_do_not_come_are_missed_once_they_are_due(people: pd.DataFrame, wait: int, asked: int) -> None:
    stops = 12
    nights = Nights(people, wait, asked, unknown_from=stops)
    found = replayed(nights, 0, 55)
    assert [name for _, name, _ in found.raised] == ["missing: actuals"]
    [(night, _, sentence)] = found.raised
    # who was last asked about when is missed half a week after the first of them are due
    last = max(stops - wait + asked - 1, 0)
    assert 0 <= (night - day(last + CONFIG.coverage.wait_days)).days <= 7
    assert "have come true, which all of them should after 28 days." in sentence
    assert len(found.requests) == 1


def test_actuals_that_never_came_are_missed_as_well(people: pd.DataFrame) -> None:
    found = replayed(Nights(people, 3, 1, unknown_from=0), 0, 40)
    assert [name for _, name, _ in found.raised] == ["missing: actuals"]
    assert judged(Nights(people, 3, 1, unknown_from=0), 20) == []


def test_a_metric_that_falls_is_noticed(people: pd.DataFrame) -> None:
    worse = 30
    found = replayed(Nights(people, 2, 2, worse_from=worse), 20, 50)
    assert {name for _, name, _ in found.raised} == {"error"}
    assert 2 <= (found.raised[0][0] - day(worse)).days <= 14
    assert "the version's own validation (0.850); by rows it is surely beyond 0.765." in found.raised[0][2]


def test_inputs_that_move_are_noticed_at_once_and_a_little_is_no_drift(people: pd.DataFrame) -> None:
    nights = Nights(people, 3, 3)
    for years, expected in ((0, set()), (2, set()), (20, {"drift: Age"})):
        asked = nights.rows_of(30).drop(columns="Left").assign(Age=lambda rows, more=years: rows["Age"] + more)
        assert {key for key in bad(judged(nights, 30, schedule=asked)) if "drift" in key} == expected
    plan = nights.rows_of(30).drop(columns="Left").assign(Plan="max")
    [told] = [signal for signal in judged(nights, 30, schedule=plan) if signal.bad]
    assert told.key == "drift: Plan"
    assert told.value == 1.0
    assert told.sentence.endswith("most at values never seen before: 0.0 % then, 100.0 % now.")
    few = nights.rows_of(30).drop(columns="Left").head(CONFIG.least_rows - 1).assign(Plan="max")
    assert not bad(judged(nights, 30, schedule=few))


def test_rows_that_nobody_predicted_are_told_where_one_knows_when_they_came_true(people: pd.DataFrame) -> None:
    stops = 32
    nights = Nights(people, 3, 3, unasked_from=stops)
    found = replayed(nights, 20, 50)
    assert [name for _, name, _ in found.raised] == ["missing: predictions"]
    assert 3 <= (found.raised[0][0] - day(stops)).days <= 10
    undated = nights.known_at(45).drop(columns=DELIVERED)
    known = Known([Publication(1, day(0))], VALIDATION, None)
    assert not bad(watch(nights.predictions(45), undated, known, MODEL, CONFIG, today=day(45)))


def test_few_rows_are_not_judged(people: pd.DataFrame) -> None:
    nights = Nights(people, 1, 1)
    high = nights.predictions(30).assign(**{PREDICTION: 0.99})
    known = Known([Publication(1, day(0))], VALIDATION, None)
    for count, expected in ((CONFIG.least_rows - 1, set()), (CONFIG.least_rows * 3, {"error", "bias"})):
        told = {signal.kind for signal in watch(
            high[high["Customer"] < BEFORE + count], nights.known_at(31), known, MODEL, CONFIG, today=day(31)
        ) if signal.kind in ("error", "bias")}  # fmt: skip
        assert told == expected


def test_late_and_corrected_actuals_are_judged_again_and_count_once(people: pd.DataFrame) -> None:
    nights = Nights(people, 2, 2)
    known = Known([Publication(1, day(0))], VALIDATION, None)
    predictions = nights.predictions(20)
    everything = nights.known_at(20)
    late = everything[everything[DELIVERED] <= day(12)]
    wrong = everything.assign(Left=1 - everything["Left"])

    def figure(actuals: pd.DataFrame) -> float:
        told = watch(predictions, actuals, known, MODEL, CONFIG, today=day(20))
        return max((signal.day, signal.value) for signal in told if signal.kind == "error" and signal.window == 28)[1]

    asked = predictions.drop_duplicates("Customer", keep="last").merge(everything, on="Customer")
    expected = auc(asked["Left"].to_numpy(), asked[PREDICTION].to_numpy())
    assert figure(everything) == pytest.approx(expected)
    assert figure(late) != pytest.approx(expected)
    assert figure(pd.concat([late, everything])) == pytest.approx(expected)
    assert figure(pd.concat([wrong, everything, everything])) == pytest.approx(expected)
    assert figure(pd.concat([everything, wrong])) == pytest.approx(1 - expected)
    aside = predictions.assign(**{PREDICTION: 0.5, PUBLISHED: False, MADE: day(25)})
    predictions = pd.concat([predictions, predictions, aside], ignore_index=True)
    assert figure(everything) == pytest.approx(expected)
