"""What the monitoring reads of recorded predictions: which are live, of which version, from which day on."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.registry.client import ensure_experiment
from include.retraining.config.model import ModelConfig
from include.retraining.config.monitor import MonitorConfig
from include.retraining.monitor.rows import DAY, PREDICTION, VERSION, Publication, join_actuals, live_rows
from include.retraining.monitor.watch import Known, watch
from include.retraining.predict.live import AT_TAG, USE_TAG, Use
from include.retraining.predict.run import keep
from include.retraining.protocol import Columns
from include.retraining.run import RetrainRun
from include.retraining.steps.published import read_predictions
from tests.retraining.monitored import CHURN, SHOPS

ORIGIN = pd.Timestamp("2026-06-01")
ONE_DAY = pd.Timedelta(days=1)
PLACES = ("Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo", "UTC")


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(mlflow_uri)


def settings(timezone: str = "Europe/Berlin", clock: str = "run") -> ModelConfig:
    lifecycle = {
        "model": "m", "experiment": "e", "owner": "o",
        "gate": {"metric": "auc", "threshold": 0.5},
        "schedule": {"cron": "0 2 * * *", "timezone": timezone},
    }  # fmt: skip
    return ModelConfig(
        lifecycle=LifecycleConfig.model_validate(lifecycle), monitor=MonitorConfig.model_validate({"clock": clock})
    )


def at(text: str) -> datetime:
    """Return a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(count: int = 4, value: float = 1.0, since: pd.Timestamp = ORIGIN) -> pd.DataFrame:
    """Return forecasts of two shops for the days after one."""
    ahead = pd.date_range(since + ONE_DAY, periods=count)
    rows = pd.MultiIndex.from_product([[1, 2], ahead], names=["Shop", "Date"]).to_frame(index=False)
    return rows.assign(Date=rows["Date"].dt.date, Sold=value)


def people(*numbers: int, value: float = 0.5) -> pd.DataFrame:
    """Return predictions of customers."""
    return pd.DataFrame({"Customer": numbers, "Left": value})


def record(
    client: MlflowClient, version: int, moment: datetime, table: pd.DataFrame, use: Use = "published",
    origin: pd.Timestamp | None = ORIGIN, status: str = "FINISHED",
) -> None:  # fmt: skip
    """Record a prediction as the step does."""
    tags = {
        "model": "m",
        "model.version": str(version),
        "forecast.origin": f"{origin:%Y-%m-%d}" if origin is not None else "",
        USE_TAG: use,
        AT_TAG: moment.isoformat(),
    }
    run = client.create_run(ensure_experiment(client, "e-predictions"), tags=tags)
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    keep(RetrainRun(client, run.info.run_id), content.getvalue())
    client.set_terminated(run.info.run_id, status)


def read(
    client: MlflowClient, config: ModelConfig, columns: Columns, night: str, folder: Path
) -> tuple[pd.DataFrame, Sequence[Publication]]:
    """Return the live rows of a night, and the publications; nothing has come true."""
    predictions, published = read_predictions(client, config, columns, pd.Timestamp(night), folder)
    none = pd.DataFrame({name: predictions[name].iloc[:0] for name in columns.keys}).assign(**{columns.actual: 0.0})
    return live_rows(join_actuals(predictions, none, columns), none, columns, published), published


def whose(live: pd.DataFrame) -> dict[object, int]:
    """Return the version of each customer or day, which two shops share."""
    key = "Customer" if "Customer" in live else "Date"
    assert not live.duplicated([name for name in ("Customer", "Shop", "Date") if name in live]).any()
    return {value if key == "Customer" else f"{value:%m-%d}": int(version)
            for value, version in zip(live[key], live[VERSION], strict=True)}  # fmt: skip


@pytest.mark.parametrize("timezone", PLACES)
@pytest.mark.parametrize("clock", ["run", "data"])
def test_a_version_that_goes_live_during_a_day_takes_over_the_rows_that_it_predicts_again(
    client: MlflowClient, tmp_path: Path, timezone: str, clock: str
) -> None:
    """Both knew the same; the night's was there from 3:00 on, the new version's from 8:00 on."""
    record(client, 1, at("2026-06-02T03:00"), days(6, 1.0))
    record(client, 2, at("2026-06-02T08:00"), days(4, 2.0))
    live, published = read(client, settings(timezone, clock), SHOPS.columns, "2026-06-02", tmp_path)
    assert whose(live) == dict.fromkeys(["06-02", "06-03", "06-04", "06-05"], 2) | dict.fromkeys(["06-06", "06-07"], 1)
    assert (live[PREDICTION] == live[VERSION]).all()
    first = pd.Timestamp("2026-06-02")
    assert list(published) == [Publication(1, first), Publication(2, first)]


def test_a_version_that_is_published_as_the_day_begins_answers_for_it(client: MlflowClient, tmp_path: Path) -> None:
    """Midnight in Berlin, the moment after the origin's day, belongs to the new day, and a moment before does not."""
    record(client, 1, at("2026-06-01T21:59:59"), days(3, 1.0, ORIGIN - ONE_DAY), origin=ORIGIN - ONE_DAY)
    record(client, 2, at("2026-06-01T22:00:00"), days(3, 2.0))
    live, published = read(client, settings(), SHOPS.columns, "2026-06-02", tmp_path)
    assert whose(live) == {"06-01": 1, "06-02": 2, "06-03": 2, "06-04": 2}
    assert list(published) == [Publication(1, ORIGIN), Publication(2, ORIGIN + ONE_DAY)]


def test_without_time_rows_of_a_day_stay_with_the_version_that_predicted_them_last(
    client: MlflowClient, tmp_path: Path
) -> None:
    """The new version is published hours after the night's, on the same day, for some of the same customers."""
    record(client, 1, at("2026-06-01T03:30"), people(1, 2, 3), origin=None)
    record(client, 1, at("2026-06-02T03:30"), people(2, 3, 4), origin=None)
    record(client, 2, at("2026-06-02T08:00"), people(3, 4, 5), origin=None)
    live, published = read(client, settings(), CHURN.columns, "2026-06-02", tmp_path)
    assert whose(live) == {1: 1, 2: 1, 3: 2, 4: 2, 5: 2}
    told = live.set_index("Customer")[DAY]
    assert [f"{told[number]:%m-%d}" for number in (1, 2, 3)] == ["06-01", "06-02", "06-02"]
    assert [(one.version, f"{one.since:%m-%d}") for one in published] == [(1, "06-01"), (2, "06-02")]


@pytest.mark.parametrize("use", ["beside", "aside"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("timed", [True, False])
def test_what_consumers_did_not_get_is_not_live(
    client: MlflowClient, tmp_path: Path, use: Use, version: int, timed: bool
) -> None:
    """Not even of the version in Production, from the same origin, made later or earlier, or of other rows."""
    columns = SHOPS.columns if timed else CHURN.columns
    origin = ORIGIN if timed else None
    ours, theirs = (days(3, 1.0), days(9, 7.0)) if timed else (people(1, 2), people(1, 2, 3, value=7.0))
    record(client, version, at("2026-06-02T01:00"), theirs, use, origin)
    record(client, 1, at("2026-06-02T03:00"), ours, origin=origin)
    record(client, version, at("2026-06-02T09:00"), theirs, use, origin)
    live, published = read(client, settings(), columns, "2026-06-02", tmp_path)
    assert set(live[VERSION]) == {1}
    assert not (live[PREDICTION] == 7.0).any()
    assert len(live) == len(ours)
    assert [one.version for one in published] == [1]


def test_versions_are_compared_by_what_was_predicted_beside_and_not_aside(client: MlflowClient, tmp_path: Path) -> None:
    record(client, 2, at("2026-06-02T03:00"), days(3))
    record(client, 1, at("2026-06-02T04:00"), days(3, 3.0), "beside")
    record(client, 1, at("2026-06-02T05:00"), days(3, 9.0), "aside")
    predictions, _ = read_predictions(client, settings(), SHOPS.columns, ORIGIN + ONE_DAY, tmp_path)
    assert {(int(row[VERSION]), row[PREDICTION]) for _, row in predictions.iterrows()} == {(1, 3.0), (2, 1.0)}


@pytest.mark.parametrize(
    ("timezone", "first", "second", "day"),
    [
        # an hour that comes twice: 2:30 in summer time is before 2:10 in winter time
        ("Europe/Berlin", "2026-10-25T00:30", "2026-10-25T01:10", "2026-10-25"),
        # the night before it is another day in UTC
        ("Europe/Berlin", "2026-10-24T22:05", "2026-10-24T23:05", "2026-10-25"),
        # an hour that is left out
        ("Europe/Berlin", "2026-03-29T00:59", "2026-03-29T01:00", "2026-03-29"),
        ("America/Los_Angeles", "2026-11-02T06:59", "2026-11-02T07:30", "2026-11-01"),
        ("Asia/Tokyo", "2026-06-01T20:30", "2026-06-02T14:59", "2026-06-02"),
    ],
)
def test_moments_are_put_in_order_by_utc_and_counted_by_the_schedules_days(
    client: MlflowClient, tmp_path: Path, timezone: str, first: str, second: str, day: str
) -> None:
    record(client, 1, at(first), people(1, 2), origin=None)
    record(client, 2, at(second), people(2, 3), origin=None)
    live, published = read(client, settings(timezone), CHURN.columns, day, tmp_path)
    assert whose(live) == {1: 1, 2: 2, 3: 2}
    assert set(live[DAY]) == {pd.Timestamp(day)}
    assert list(published) == [Publication(1, pd.Timestamp(day)), Publication(2, pd.Timestamp(day))]
    before = tmp_path / "before"
    before.mkdir()
    nothing, _ = read_predictions(client, settings(timezone), CHURN.columns, pd.Timestamp(day) - ONE_DAY, before)
    assert nothing.empty


def test_the_version_published_last_is_live_though_its_data_is_older(client: MlflowClient, tmp_path: Path) -> None:
    """A delivery was withdrawn between both."""
    record(client, 1, at("2026-06-02T03:00"), days(3, 1.0))
    record(client, 2, at("2026-06-02T08:00"), days(4, 2.0, ORIGIN - ONE_DAY), origin=ORIGIN - ONE_DAY)
    live, published = read(client, settings(clock="data"), SHOPS.columns, "2026-06-02", tmp_path)
    assert whose(live) == {"06-01": 2, "06-02": 2, "06-03": 2, "06-04": 2}
    assert [one.version for one in published] == [1, 2]
    assert published[1].since >= published[0].since


def test_a_day_that_has_passed_stays_with_the_version_that_was_live_then(client: MlflowClient, tmp_path: Path) -> None:
    """Actuals come three days late: a forecast that is published on the fourth of June begins on the second."""
    record(client, 1, at("2026-06-03T03:00"), days(6, 1.0, ORIGIN - ONE_DAY), origin=ORIGIN - ONE_DAY)
    record(client, 1, at("2026-06-04T03:00"), days(6, 1.5), origin=ORIGIN)
    record(client, 2, at("2026-06-04T08:00"), days(6, 2.0), origin=ORIGIN)
    live, published = read(client, settings(), SHOPS.columns, "2026-06-04", tmp_path)
    assert whose(live) == dict.fromkeys(["06-01", "06-02", "06-03"], 1) | dict.fromkeys(
        ["06-04", "06-05", "06-06", "06-07"], 2
    )
    # also of the days that had passed before anything was published the first forecast counts
    assert set(live.loc[live[VERSION] == 1, PREDICTION]) == {1.0}
    assert [(one.version, f"{one.since:%m-%d}") for one in published] == [(1, "06-03"), (2, "06-04")]
    # where the data ended long ago, the clock tells nothing
    again = tmp_path / "again"
    again.mkdir()
    live, _ = read(client, settings(clock="data"), SHOPS.columns, "2026-06-04", again)
    assert whose(live) == {"06-01": 1} | {f"06-0{number}": 2 for number in range(2, 8)}


def test_a_version_that_comes_back_answers_for_its_days_and_no_others(client: MlflowClient, tmp_path: Path) -> None:
    """Nothing is delivered meanwhile, so all nights know the same; the rollback publishes the same forecast again."""
    for moment, version in (("02T03", 1), ("03T03", 1), ("04T03", 1), ("04T08", 2), ("05T03", 2), ("06T03", 1)):
        record(client, version, at(f"2026-06-{moment}:00"), days(8, float(version)))
    live, published = read(client, settings(), SHOPS.columns, "2026-06-06", tmp_path)
    owners = {"06-02": 1, "06-03": 1, "06-04": 2, "06-05": 2, "06-06": 1, "06-07": 1, "06-08": 1, "06-09": 1}
    assert whose(live) == owners
    assert [one.version for one in published] == [1, 2, 1]


def test_actuals_that_come_no_more_stay_late(client: MlflowClient, tmp_path: Path) -> None:
    """Each night forecasts from the same old day on; in the end all that it forecasts has passed."""
    night = ORIGIN + 90 * ONE_DAY
    for number in range(86, 91):
        record(client, 1, at(f"{ORIGIN + number * ONE_DAY:%Y-%m-%d}T03:00"), days(42))
    predictions, published = read_predictions(client, settings(), SHOPS.columns, night, tmp_path)
    none = predictions[["Shop", "Date"]].iloc[:0].assign(Sold=0.0)
    [late] = watch(predictions, none, Known(published, {}, None), SHOPS, MonitorConfig(), today=night)
    assert (late.kind, late.bad, late.value) == ("late", True, 89)


def test_a_night_that_is_judged_again_knows_what_was_published_by_then(client: MlflowClient, tmp_path: Path) -> None:
    for number in range(4):
        origin = ORIGIN + number * ONE_DAY
        moment = at(f"2026-06-0{number + 2}T03:00")
        record(client, 1 + number // 2, moment, days(3, 1.0, origin), origin=origin)
        record(client, 9, moment, days(3, 5.0, origin), origin=origin, status="FAILED")
    for night, expected in (("2026-06-02", [1]), ("2026-06-03", [1]), ("2026-06-04", [1, 2]), ("2026-06-05", [1, 2])):
        folder = tmp_path / night
        folder.mkdir()
        live, published = read(client, settings(), SHOPS.columns, night, folder)
        assert [one.version for one in published] == expected
        assert set(live[VERSION]) == set(expected)


def test_what_is_older_than_a_night_looks_back_is_not_read(client: MlflowClient, tmp_path: Path) -> None:
    record(client, 1, at("2026-01-01T03:00"), people(1), origin=None)
    record(client, 2, at("2026-01-02T03:00"), people(1, 2), origin=None)
    record(client, 2, at("2026-06-02T03:00"), people(2), origin=None)
    live, published = read(client, settings(), CHURN.columns, "2026-06-02", tmp_path)
    assert whose(live) == {2: 2}
    assert [one.version for one in published] == [2]
