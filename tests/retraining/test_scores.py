"""Figures of live predictions: what counts, once, whatever comes late, twice or corrected."""

import numpy as np
import pandas as pd
import pytest

from include.retraining.monitor.rows import (
    DAY,
    DELIVERED,
    MADE,
    NAIVE,
    ORIGIN,
    PREDICTION,
    PUBLISHED,
    VERSION,
    Publication,
    actuals_once,
    join_actuals,
    live_rows,
)
from include.retraining.monitor.scores import (
    EXPECTED,
    HORIZON_WEEK,
    METRIC,
    SLICE,
    VALUE,
    WINDOW,
    Scores,
    by_day,
    by_horizon_week,
    compute_scores,
    figures_of,
    rolling,
)
from tests.retraining.monitored import (
    CHURN,
    PUBLICATIONS,
    SHOPS,
    as_published,
    customers,
    day,
    delivered,
    forecasts,
    rmspe,
    shop_rows,
)

COLUMNS = SHOPS.columns


def live_of(
    predictions: pd.DataFrame, actuals: pd.DataFrame, published: list[Publication] = PUBLICATIONS
) -> pd.DataFrame:
    return live_rows(join_actuals(predictions, actuals, COLUMNS), actuals, COLUMNS, published)


def assert_same(ours: Scores, theirs: Scores) -> None:
    for name in ("days", "rolling", "horizon", "slices"):
        pd.testing.assert_frame_equal(getattr(ours, name), getattr(theirs, name), check_like=True, obj=name)


def test_a_row_counts_once_with_the_newest_forecast_before_its_day():
    rows = shop_rows(20)
    nights = [forecasts(rows, 1, [origin], factor=1 + origin / 100) for origin in range(3, 12)]
    live = live_of(pd.concat(nights).sample(frac=1, random_state=1), delivered(rows))
    predicted = live[live[PREDICTION].notna()]
    assert not predicted.duplicated(["Shop", "Date"]).any()
    newest = np.minimum((predicted[DAY] - day(0)).dt.days - 1, 11)
    assert ((predicted[ORIGIN] - day(0)).dt.days == newest).all()
    usual = predicted.merge(rows[["Shop", "Date", "Usual"]], on=["Shop", "Date"])
    np.testing.assert_allclose(usual[PREDICTION], usual["Usual"] * (1 + newest.to_numpy() / 100))


def test_a_forecast_that_already_knew_the_day_is_not_live():
    rows = shop_rows(10)
    late = forecasts(rows, 1, [4]).assign(**{ORIGIN: day(9), MADE: day(10.2)})
    assert live_of(late, delivered(rows))[PREDICTION].isna().all()


def test_only_the_version_that_was_published_when_the_forecast_was_made_is_live():
    rows = shop_rows(20)
    published = [Publication(1, day(0)), Publication(2, day(9))]
    old, new = forecasts(rows, 1, range(2, 14), horizon=4), forecasts(rows, 2, range(2, 14), horizon=4, factor=2)
    live = live_of(as_published(pd.concat([new, old]), published), delivered(rows), published)
    predicted = live[live[PREDICTION].notna()]
    # the night after origin 7 (08.2) is the last of version 1; its forecast of day 8 is the newest before that day
    assert (predicted[VERSION] == np.where(predicted[DAY] <= day(8), 1, 2)).all()
    figures = by_day(live, SHOPS)
    assert set(figures.loc[figures[DAY] == day(8), VERSION]) == {1}
    assert set(figures.loc[figures[DAY] == day(9), VERSION]) == {2}


def test_a_forecast_repeated_by_the_next_version_on_the_same_day_counts_for_that_one():
    rows = shop_rows(12)
    published = [Publication(1, day(0)), Publication(2, day(6))]
    morning, noon = forecasts(rows, 1, [5], horizon=6), forecasts(rows, 2, [5], horizon=4, factor=3)
    noon[MADE] += pd.Timedelta(hours=7)
    for both in ([morning, noon], [noon, morning]):
        live = live_of(pd.concat(both), delivered(rows), published)
        assert not live.duplicated(["Shop", "Date"]).any()
        predicted = live[live[PREDICTION].notna()]
        # the new version only predicted four days of the six
        assert (predicted[VERSION] == np.where(predicted[DAY] <= day(9), 2, 1)).all()
        assert set(predicted[DAY]) == set(pd.date_range(day(6), day(11)))


def test_after_a_rollback_the_former_version_is_live_again():
    rows = shop_rows(20)
    published = [Publication(1, day(0)), Publication(2, day(5)), Publication(1, day(10))]
    both = pd.concat([forecasts(rows, version, range(1, 18), horizon=2) for version in (1, 2)])
    live = live_of(as_published(both, published), delivered(rows), published)
    predicted = live.dropna(subset=[PREDICTION])
    assert (predicted[VERSION] == np.where((predicted[DAY] >= day(5)) & (predicted[DAY] < day(10)), 2, 1)).all()


def test_repeated_nights_and_deliveries_change_nothing():
    rows, nights = shop_rows(30), range(2, 28)
    predictions, actuals = forecasts(rows, 1, nights), delivered(rows)
    once = compute_scores(predictions, actuals, PUBLICATIONS, SHOPS, validation={1: 0.1})
    twice = compute_scores(
        pd.concat([predictions, predictions.iloc[::3]]), pd.concat([actuals, actuals.iloc[::2]]), PUBLICATIONS, SHOPS,
        validation={1: 0.1},
    )  # fmt: skip
    assert_same(once, twice)
    assert once.days["rows"].sum() == (rows.loc[rows["Date"] > day(2), "Sold"] > 0).sum()


def test_the_newest_delivery_of_a_row_counts_whatever_order_it_is_stored_in():
    rows = shop_rows(3)
    first = delivered(rows).assign(**{DELIVERED: day(4)})
    corrected = first.assign(Sold=first["Sold"] * 2, **{DELIVERED: day(6)})
    withdrawn = first.iloc[:5].assign(Sold=np.nan, **{DELIVERED: day(7)})
    truth = actuals_once(pd.concat([corrected, withdrawn, first]), COLUMNS)
    assert len(truth) == len(rows) - 5
    np.testing.assert_allclose(truth["Sold"].sum(), 2 * rows["Sold"].iloc[5:].sum())


def test_a_corrected_actual_touches_its_day_and_the_windows_over_it():
    rows = shop_rows(60)
    predictions, actuals = forecasts(rows, 1, range(58), horizon=2), delivered(rows)
    before = compute_scores(predictions, actuals, PUBLICATIONS, SHOPS)
    correction = actuals[actuals["Date"] == day(30)].assign(Sold=50.0)
    after = compute_scores(predictions, pd.concat([actuals, correction]), PUBLICATIONS, SHOPS)
    differs = before.days[METRIC] != after.days[METRIC]
    assert list(before.days.loc[differs & before.days["rows"].gt(0), DAY]) == [day(30)]
    moved = before.rolling[before.rolling[METRIC].fillna(0) != after.rolling[METRIC].fillna(0)]
    assert (moved[DAY] >= day(30)).all()
    assert (moved[DAY] < day(30) + moved[WINDOW] * pd.Timedelta(days=1)).all()
    assert len(moved) == 7 + 14 + 28


def test_figures_are_those_of_the_rows():
    rows = shop_rows(12)
    predictions = forecasts(rows, 1, range(2, 9), horizon=1, factor=1.2)
    predictions = predictions[predictions["Shop"] != 5].assign(**{NAIVE: 150.0})
    actuals = delivered(rows[~((rows["Shop"] == 4) & (rows["Date"] == day(5)))])
    live = live_of(predictions, actuals)
    found = by_day(live, SHOPS).set_index(DAY).loc[day(5)]
    scored = rows[(rows["Date"] == day(5)) & (rows["Shop"] < 4)]
    assert found["rows"] == 4
    assert found[METRIC] == pytest.approx(rmspe(scored["Sold"], 1.2 * scored["Usual"]))
    assert found["bias"] == pytest.approx(1.2 * scored["Usual"].sum() / scored["Sold"].sum() - 1)
    assert found["coverage"] == pytest.approx(4 / 5)  # shop 5 was not predicted
    assert found["arrived"] == pytest.approx(4 / 5)  # shop 4 has not come
    assert found["naive"] == pytest.approx(rmspe(scored["Sold"], np.full(4, 150.0)))
    assert found["gain"] == pytest.approx(found["naive"] - found[METRIC])


def test_a_day_that_nobody_predicted_has_no_coverage_and_no_figure():
    rows = shop_rows(12)
    found = by_day(live_of(forecasts(rows, 1, [2], horizon=2), delivered(rows)), SHOPS).set_index(DAY)
    assert found.loc[day(7), "coverage"] == 0
    assert found.loc[day(7), "rows"] == 0
    assert np.isnan(found.loc[day(7), METRIC])
    assert found.loc[day(4), "coverage"] == 1


def test_days_before_the_first_stored_forecast_are_not_missed():
    rows = shop_rows(30)
    found = by_day(live_of(forecasts(rows, 1, range(14, 20)), delivered(rows)), SHOPS)
    assert found[DAY].min() == day(15)
    assert (found["coverage"].dropna() == 1).all()


def test_a_window_is_scored_over_its_rows_and_expects_the_versions_that_made_them():
    rows = shop_rows(40)
    both = pd.concat([forecasts(rows, 1, range(2, 20), horizon=1), forecasts(rows, 2, range(20, 39), horizon=1)])
    live = live_of(both, delivered(rows), [Publication(1, day(0)), Publication(2, day(21))])
    found = rolling(live, SHOPS, validation={1: 0.1, 2: 0.4}).set_index([DAY, WINDOW])
    inside = rows[(rows["Date"] > day(8)) & (rows["Date"] <= day(22)) & (rows["Sold"] > 0)]
    window = found.loc[(day(22), 14)]
    assert window["rows"] == len(inside)
    assert window[METRIC] == pytest.approx(rmspe(inside["Sold"], inside["Usual"]))
    newer = (inside["Date"] >= day(21)).mean()
    assert window[EXPECTED] == pytest.approx(0.1 * (1 - newer) + 0.4 * newer)
    assert np.isnan(rolling(live, SHOPS, validation={1: 0.1})[EXPECTED].iloc[-1])


def test_weeks_of_the_horizon_count_every_origin_once():
    rows = shop_rows(40)
    nights = pd.concat([forecasts(rows, 1, [origin], factor=1 + origin / 50) for origin in (3, 10)])
    joined = join_actuals(pd.concat([nights, nights]), delivered(rows), COLUMNS)
    found = by_horizon_week(joined, SHOPS).set_index(HORIZON_WEEK)
    assert list(found.index) == [1, 2]
    assert (found["rows"] == 2 * 6 * 6).all()
    second = joined[((joined[DAY] - joined[ORIGIN]).dt.days > 7) & (joined["Sold"] > 0)]
    assert found.loc[2, METRIC] == pytest.approx(rmspe(second["Sold"], second[PREDICTION]))


def test_slices_are_looked_at_alone():
    rows = shop_rows(40)
    predictions = forecasts(rows, 1, range(2, 39), horizon=1)
    deal = rows.set_index(["Shop", "Date"])["Deal"].loc[
        list(zip(predictions["Shop"], predictions["Date"], strict=True))
    ]
    predictions[PREDICTION] *= np.where(deal == 1, 1.3, 1.0)
    found = compute_scores(predictions, delivered(rows), PUBLICATIONS, SHOPS).slices.set_index([SLICE, VALUE])
    assert found.loc[("Deal", "1"), "bias"] == pytest.approx(0.3, abs=0.05)
    assert found.loc[("Deal", "0"), "bias"] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("published", [PUBLICATIONS, []])
def test_nothing_at_all_has_no_figures(published):
    rows = shop_rows(5)
    nobody = forecasts(rows, 1, [1]).iloc[:0]
    empty = compute_scores(nobody, delivered(rows).iloc[:0], published, SHOPS)
    for frame in (empty.days, empty.rolling, empty.horizon, empty.slices):
        assert frame.empty
        assert METRIC in frame
    waiting = compute_scores(forecasts(rows, 1, [1]), delivered(rows).iloc[:0], PUBLICATIONS, SHOPS)
    assert (waiting.days["rows"] == 0).all()
    assert (waiting.days["arrived"] == 0).all()


def test_an_entity_without_actuals_leaves_the_others_as_they_are():
    rows = shop_rows(30)
    predictions = forecasts(rows, 1, range(2, 29), horizon=1)
    without = compute_scores(predictions, delivered(rows[rows["Shop"] != 2]), PUBLICATIONS, SHOPS).days
    others = compute_scores(
        predictions[predictions["Shop"] != 2], delivered(rows[rows["Shop"] != 2]), PUBLICATIONS, SHOPS
    )
    np.testing.assert_allclose(without[METRIC], others.days[METRIC])
    assert without.loc[without["rows"] > 0, "arrived"].unique() == pytest.approx([5 / 6])


def test_a_model_without_time_and_a_metric_where_higher_is_better():
    predictions, rows = customers(400)
    predictions[NAIVE] = 0.3
    scores = compute_scores(predictions, rows, PUBLICATIONS, CHURN, validation={1: 0.9})
    assert list(scores.days[DAY]) == [day(0)]
    assert list(scores.rolling[WINDOW]) == [7, 14, 28]
    assert scores.rolling[EXPECTED].to_list() == pytest.approx([0.9] * 3)
    assert scores.horizon.empty
    found = scores.days.iloc[0]
    assert found["rows"] == 400
    assert 0.85 < found[METRIC] < 0.97
    assert found["naive"] == 0.5
    assert np.isnan(found["coverage"])
    assert found["gain"] == pytest.approx(found[METRIC] - 0.5)
    assert set(scores.slices[VALUE]) == {"basic", "plus"}
    # a second score of a customer replaces the first, and what consumers did not get is not live
    beside = predictions.assign(**{PREDICTION: 0.1, VERSION: 7, PUBLISHED: False})
    again = pd.concat([predictions.assign(**{PREDICTION: 0.5}), predictions, beside, beside.assign(**{VERSION: 1})])
    live = live_rows(join_actuals(again, rows, CHURN.columns), rows, CHURN.columns, PUBLICATIONS)
    assert figures_of(live, CHURN)[METRIC] == pytest.approx(found[METRIC])
