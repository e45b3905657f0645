"""The forecaster in use: what it accepts, what it refuses, and that it computes what training computed."""

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import include.models.rossmann.forecaster as package
from include.models.rossmann.forecaster import Forecaster, ForecastInputError, Panel, save_forecaster
from include.models.rossmann.forecaster.panel import MEASURES, SCHEDULE
from tests.rossmann.synthetic import schedule_of

HORIZON = pd.Timedelta(days=42)


@pytest.fixture(scope="module")
def forecaster(forecaster_folder):
    return Forecaster.load(forecaster_folder)


@pytest.fixture(scope="module")
def future(history):
    return schedule_of(history[history["Date"] > history["Date"].max() - HORIZON])


def test_it_forecasts_the_block_after_its_training_end(forecaster, future, history):
    forecast = forecaster.forecast(future)
    assert list(forecast.columns) == ["Store", "Date", "Sales"]
    pd.testing.assert_frame_equal(
        forecast[["Store", "Date"]], future[["Store", "Date"]].reset_index(drop=True), check_dtype=False
    )
    truth = history.merge(forecast, on=["Store", "Date"], suffixes=("", "Forecast"))
    scored = truth["Sales"] > 0
    error = 1 - truth.loc[scored, "SalesForecast"] / truth.loc[scored, "Sales"]
    assert np.sqrt((error**2).mean()) < 0.2
    assert (truth.loc[~scored, "SalesForecast"] == 0).all()


def test_use_computes_the_features_that_training_computed(forecaster, panel, matrix, future):
    trained_on = matrix.block(matrix.block_ends[-1])
    served = forecaster.panel.with_rows(package.panel.to_columns(future.assign(Open=future["Open"].astype(float))))
    block = package.block_features(served, np.datetime64(forecaster.training_end, "D"), 42)
    store = np.searchsorted(served.stores.store, trained_on.store)
    ahead = (trained_on.date - block.days[0]).astype(int)
    np.testing.assert_array_equal(block.rows(store, ahead), trained_on.features)
    np.testing.assert_array_equal(block.base[store, ahead], trained_on.base)


def test_use_predicts_what_the_members_predict_on_the_matrix(forecaster, matrix, members, future):
    rows = matrix.block(matrix.block_ends[-1])
    residuals = {name: member.predict(rows.features) for name, member in members.items()}
    expected = pd.DataFrame(
        {"Store": rows.store, "Date": rows.date, "Expected": forecaster.blend.sales(rows.base, residuals)}
    )
    joined = (
        forecaster.forecast(future)
        .astype({"Date": "datetime64[s]"})
        .merge(expected.astype({"Date": "datetime64[s]"}), on=["Store", "Date"])
    )
    assert len(joined) == len(rows)
    np.testing.assert_array_equal(joined["Sales"], joined["Expected"])


def test_the_order_of_the_rows_does_not_matter(forecaster, future):
    straight = forecaster.forecast(future)
    shuffled = future.sample(frac=1, random_state=1)
    again = forecaster.forecast(shuffled)
    np.testing.assert_array_equal(again["Store"], shuffled["Store"])
    columns = ["Store", "Date"]
    pd.testing.assert_frame_equal(
        again.sort_values(columns, ignore_index=True), straight.sort_values(columns, ignore_index=True)
    )


def test_a_store_is_forecast_alike_alone_and_among_others(forecaster, future):
    everyone = forecaster.forecast(future)
    alone = forecaster.forecast(future[future["Store"] == 3])
    np.testing.assert_array_equal(alone["Sales"], everyone.loc[everyone["Store"] == 3, "Sales"])


def test_newer_history_moves_the_origin_60_days_on(panel, members, matrix, history, stores, tmp_path):
    training_end = history["Date"].max() - pd.Timedelta(days=102)
    origin = training_end + pd.Timedelta(days=60)
    folders = {}
    for name, end in (("old", training_end), ("fresh", origin)):
        folders[name] = save_forecaster(
            tmp_path / name,
            panel=panel,
            members={m: member.save(tmp_path / "native") for m, member in members.items()},
            blend=package.Blend({"lightgbm": 1.0}),
            training_end=end.date(),
            horizon_days=42,
        )
    newer = history[(history["Date"] > training_end) & (history["Date"] <= origin)]
    asked = schedule_of(history[history["Date"] > origin])
    old, fresh = Forecaster.load(folders["old"]), Forecaster.load(folders["fresh"])
    assert old.panel.last_day < fresh.panel.last_day
    with_newer = old.forecast(pd.concat([newer, asked], ignore_index=True))
    pd.testing.assert_frame_equal(with_newer, fresh.forecast(asked))
    with pytest.raises(ForecastInputError, match=f"history ends on {training_end:%Y-%m-%d}"):
        old.forecast(asked)


def test_newer_history_replaces_what_the_model_carries(forecaster, future, history):
    known = history[history["Date"] <= pd.Timestamp(forecaster.training_end)].head(200)
    doubled = known.assign(Sales=known["Sales"] * 2)
    same = forecaster.forecast(pd.concat([known, future], ignore_index=True))
    pd.testing.assert_frame_equal(same, forecaster.forecast(future))
    other = forecaster.forecast(pd.concat([doubled, future], ignore_index=True))
    assert not np.array_equal(other["Sales"], same["Sales"])


def test_missing_open_means_open_and_is_said(forecaster, future, caplog):
    one = future[(future["Open"] == 1)].head(3)
    with caplog.at_level(logging.WARNING):
        unsaid = forecaster.forecast(one.assign(Open=[np.nan, 1.0, np.nan]))
    assert "2 of 3 rows do not say whether the store is open" in caplog.text
    pd.testing.assert_frame_equal(unsaid, forecaster.forecast(one.drop(columns="Open")))
    assert (unsaid["Sales"] > 0).all()


def test_what_an_http_client_sends_is_understood(forecaster, future):
    sent = future.astype({"Date": str, "Open": float, "Promo": float, "StateHoliday": object})
    sent["StateHoliday"] = [0 if code == "0" else code for code in sent["StateHoliday"]]
    pd.testing.assert_frame_equal(forecaster.forecast(sent), forecaster.forecast(future))
    utc = future.assign(Date=pd.to_datetime(future["Date"]).dt.tz_localize("UTC"))
    pd.testing.assert_frame_equal(forecaster.forecast(utc), forecaster.forecast(future))


def spoilt(future, column, value, rows=1):
    frame = future.head(6).astype({column: object}).reset_index(drop=True)
    frame.loc[: rows - 1, column] = value
    return frame


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(columns=["Promo", "Date"]), "missing column Date, Promo"),
        (lambda f: f.head(0), "no rows"),
        (lambda f: spoilt(f, "Store", 999), "store 999 on 2014-07-14; .* 8 stores"),
        (lambda f: spoilt(f, "Store", "x"), "wrong Store 'x'"),
        (lambda f: spoilt(f, "Date", "soon"), "wrong Date 'soon'"),
        (lambda f: spoilt(f, "StateHoliday", "x", 5), "StateHoliday: .* 2 more rows; .* 0, a, b, c"),
        (lambda f: spoilt(f, "StateHoliday", None), "wrong StateHoliday"),
        (lambda f: spoilt(f, "Promo", 2), r"wrong Promo: .*2014-07-14 \(Promo 2\.0\); .* 0 or 1"),
        (lambda f: spoilt(f, "Promo", np.nan), "wrong Promo"),
        (lambda f: spoilt(f, "Open", 3), "wrong Open"),
        (lambda f: spoilt(f, "Open", "yes"), "wrong Open 'yes'"),
        (lambda f: pd.concat([f, f.head(1)]), "than one row .* store 1 "),
        (lambda f: f.assign(Sales=100.0), "Sales without Customers"),
        (lambda f: f.assign(Sales=-1.0, Customers=1.0), "wrong Sales"),
        (lambda f: f.assign(Sales=100.0, Customers=10.0), "no row to forecast"),
        (lambda f: spoilt(f, "Date", "2014-09-01"), "store 1 on 2014-09-01: .* 2014-06-03 to 2014-07-14"),
        (lambda f: spoilt(f, "Date", "2014-06-02"), "2014-06-02: outside the horizon"),
    ],
)
def test_bad_input_is_refused_by_name(forecaster, future, spoil, message):
    with pytest.raises(ForecastInputError, match=message):
        forecaster.forecast(spoil(future))


def test_a_store_without_any_history_is_forecast(panel, members, history, stores, tmp_path):
    known = history[history["Store"] != 6]
    folder = save_forecaster(
        tmp_path,
        panel=Panel.from_frames(known, stores),
        members={"xgboost": members["xgboost"].save(tmp_path / "native")},
        blend=package.Blend({"xgboost": 1.0}),
        training_end=history["Date"].max().date() - HORIZON.to_pytimedelta(),
        horizon_days=42,
    )
    asked = schedule_of(history[(history["Date"] > history["Date"].max() - HORIZON) & (history["Store"] == 6)])
    forecast = Forecaster.load(folder).forecast(asked)
    assert np.isfinite(forecast["Sales"]).all()
    assert (forecast["Sales"] > 0).any()


def test_history_survives_saving_bit_for_bit(panel, tmp_path):
    panel.save_history(tmp_path / "history.parquet", until=panel.last_day, days=10_000)
    again = Panel.load_history(tmp_path / "history.parquet", panel.stores)
    assert again.first_day == panel.first_day
    for name in MEASURES + SCHEDULE:
        np.testing.assert_array_equal(getattr(again, name), getattr(panel, name))


def test_members_trained_on_other_features_are_refused(forecaster_folder, tmp_path):
    folder = shutil.copytree(forecaster_folder, tmp_path / "other")
    text = (folder / "blend.json").read_text()
    (folder / "blend.json").write_text(text.replace('"ridge"', '"lasso"'))
    with pytest.raises(ValueError, match="other features"):
        Forecaster.load(folder)


def test_the_package_works_from_a_copy_under_another_name(forecaster_folder, future, forecaster, tmp_path):
    source = Path(package.__file__).parent
    shutil.copytree(
        source, tmp_path / "forecaster_of_version_7", ignore=shutil.ignore_patterns("__pycache__", "pyfunc.py")
    )
    future.to_parquet(tmp_path / "future.parquet")
    script = (
        "import sys; from pathlib import Path; import pandas as pd; from forecaster_of_version_7 import Forecaster;"
        f"f = Forecaster.load(Path({str(forecaster_folder)!r}));"
        "f.forecast(pd.read_parquet('future.parquet')).to_parquet('forecast.parquet');"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('include', 'mlflow', 'pydantic')]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "forecast.parquet"), forecaster.forecast(future))


def test_the_package_imports_nothing_of_the_project():
    for path in Path(package.__file__).parent.glob("*.py"):
        assert not re.search(r"^\s*(from|import) include", path.read_text(), re.MULTILINE), path
