"""Nights of prediction and monitoring of the churn model, on a real MLflow and a data registry that grows."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.models.churn.config import NAME, TABLES, ChurnConfig
from include.models.churn.model import MODEL, auc
from include.models.churn.sample import generate
from include.retraining.data_source.publish import publish_data
from include.retraining.predict.request import PredictionRequest
from include.retraining.run import Origin
from include.retraining.steps import predict as step
from include.retraining.steps.monitor import FOLDER, monitor
from include.retraining.steps.pull import pull
from include.retraining.steps.register import register
from include.retraining.steps.train import train
from include.retraining.steps.validate import validate
from include.retraining.table_model import MEMBER

pytestmark = pytest.mark.long

FIRST = datetime(2026, 6, 1, 3, 30, tzinfo=UTC)
START, MORE = 1500, 100
"""Customers of whom it is known whether they left in the first night, and how many more are each night."""
EVERYBODY = generate(4000).customers.set_index("Customer")


class Clock(datetime):
    """The time of day, as the prediction's step reads it."""

    moment = FIRST

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.moment.astimezone(tz)


class Place:
    """The model with a version in Production, and its nights.

    :param folder: of the data registry and the published files
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        content = {"coverage": {"wait_days": 3}, "error": {"worse_by": 0.1}, "bias": {"limit": 0.2, "slice_limit": 0.4}}
        shipped = ChurnConfig.of(NAME)
        self.config = shipped.model_copy(update={"monitor": type(shipped.monitor).model_validate(content)})
        self.client = MlflowClient()
        self.registry = ModelRegistry(self.client, integrity="required")

    def bring(self, customers: int, **more: Any) -> None:
        publish_data(TABLES, self.folder / "registry", generate(customers, **more))

    def retrained(self) -> int:
        """Bring another version into Production, and return it."""
        run_id = pull(MODEL, self.config, Origin(), quick=True)["run_id"]
        train(MODEL, self.config, run_id, MEMBER)
        version = int(register(MODEL, self.config, run_id)["version"])
        validate(MODEL, self.config, version=version)
        name = self.config.lifecycle.model
        self.registry.stage(name, version)
        decision = Decision(Outcome.APPROVED, "ana", "test", "good", Channel.CLI)
        self.registry.promote(name, version, decision)
        return version

    def predict(self, moment: datetime, **request: Any) -> pd.DataFrame:
        """Predict at a time, published as the nights do unless something else is asked for; return what came out."""
        Clock.moment = moment
        asked = PredictionRequest(**({"publish": True, "moment": moment} | request))
        result = step.predict(MODEL, self.config, asked, Origin("churn_predict", f"{moment}{request}"))
        name = next(item["name"] for item in result["outputs"] if item["name"].endswith(".parquet"))
        return pd.read_parquet(self.folder / "predictions" / name)

    def monitor(self, moment: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
        """Judge the night of a time; return the result and the figures that were kept."""
        found = monitor(MODEL, self.config, Origin("churn_monitor", str(moment)), moment=moment)
        path = self.client.download_artifacts(found["run_id"], f"{FOLDER}/figures.json")
        return found, json.loads(Path(path).read_text(encoding="utf-8"))


@pytest.fixture
def place(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("RETRAIN_DATA_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("RETRAIN_PREDICTIONS", str(tmp_path / "predictions"))
    monkeypatch.setattr(step, "datetime", Clock)
    place = Place(tmp_path)
    place.bring(START)
    return place


def live_auc(last: pd.Series, known: int) -> float:
    """Return the figure of the predictions that consumers had last of those of whom it is known."""
    there = last[last.index <= known]
    return auc(EVERYBODY.loc[there.index, "Left"].to_numpy(), there.to_numpy())


def test_nights_with_a_promotion_and_predictions_aside(place: Place) -> None:
    """Quiet nights raise nothing; each customer counts once, for the version whose prediction consumers had last."""
    place.retrained()
    last: dict[int, tuple[float, int]] = {}

    def publish(moment: datetime, version: int) -> None:
        table = place.predict(moment)
        assert set(table["ModelVersion"]) == {version}
        last.update({int(row.Customer): (row.Left, version) for row in table.itertuples()})

    for number in range(6):
        moment, known = FIRST + timedelta(days=number), START + MORE * number
        if number:
            place.bring(known)
        publish(moment, 1 if number <= 4 else 2)
        if number == 3:
            # what-if customers, a version named by hand, a name and a file of one's own
            rows = generate(known).future.assign(Calls=9)
            rows.to_csv(place.folder / "what-if.csv", index=False)
            aside = [{"input_file": place.folder / "what-if.csv"}, {"version": 1}, {"output_name": "a.parquet"}]
            for hours, request in enumerate(aside, start=1):
                place.predict(moment + timedelta(hours=hours), **request)
        if number == 4:
            place.bring(known + 50)  # and then the new version learns, and is approved at noon
            assert place.retrained() == 2
            publish(moment + timedelta(hours=6), 2)
        found, figures = place.monitor(moment + timedelta(hours=8))
        assert found["headline"] == "No alarm.", number
        assert found["version"] == (1 if number < 4 else 2)

    by_version = pd.Series({customer: version for customer, (_, version) in last.items() if customer <= known})
    told = pd.DataFrame(figures["days"]).groupby("ModelVersion")["rows"].sum()
    assert told.to_dict() == by_version.value_counts().to_dict()
    assert set(by_version.value_counts().index) == {1, 2}
    share = pd.Series({customer: value for customer, (value, _) in last.items()})
    newest = {row["Window"]: row for row in figures["rolling"]}
    assert newest[28]["metric"] == pytest.approx(live_auc(share, known))
    assert newest[28]["coverage"] is None

    # the first night is run again, after all the others: what consumers had stays what they had
    Clock.moment = moment + timedelta(hours=10)
    again = PredictionRequest(publish=True, moment=FIRST)
    step.predict(MODEL, place.config, again, Origin("churn_predict", "first night again"))
    _, same = place.monitor(moment + timedelta(hours=11))
    assert same["rolling"] == figures["rolling"]


def test_who_was_known_already_is_no_prediction(place: Place) -> None:
    """The file of those to predict is not kept up: it still has customers who were learned from."""
    place.retrained()
    early = place.predict(FIRST).set_index("Customer")["Left"]
    place.bring(START + MORE)
    place.retrained()
    known, delivery = START + MORE, place.folder / "delivery"
    delivery.mkdir()
    generate(START).future.to_csv(delivery / "future.csv", index=False)
    generate(known).customers.to_csv(delivery / "customers.csv", index=False)
    publish_data(TABLES, place.folder / "registry", delivery)
    moment = FIRST + timedelta(days=1)
    late = place.predict(moment).set_index("Customer")["Left"]
    assert set(late.index) == set(early.index), "the same customers are asked about"
    _, figures = place.monitor(moment)
    [newest] = [row for row in figures["rolling"] if row["Window"] == 28 and row["Day"].startswith("2026-06-01")]
    assert newest["rows"] == MORE
    assert newest["metric"] == pytest.approx(live_auc(early, known))
    assert newest["metric"] != pytest.approx(live_auc(late, known))
    told = {(row["ModelVersion"], row["Day"][:10]): (row["rows"], row["arrived"]) for row in figures["days"]}
    assert told == {(1, "2026-06-01"): (MORE, 1.0), (2, "2026-06-02"): (0, 0.0)}


def test_customers_of_whom_nobody_asked_are_told(place: Place) -> None:
    place.retrained()
    raised = []
    for number in range(9):
        moment, known = FIRST + timedelta(days=number), START + MORE * number
        # from the seventh night on three times as many become known as were asked about
        known += 600 * max(number - 5, 0)
        if number:
            place.bring(known, asked=150)
        place.predict(moment)
        found, _ = place.monitor(moment + timedelta(hours=1))
        raised += [(number, name) for name, _, _ in found["monitor"]["raised"]]
    assert raised == [(7, "missing: predictions")]
