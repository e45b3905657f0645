"""The churn model as the steps of ``retraining`` see it: no time, one member, AUC (higher is better)."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import lightgbm
import mlflow.pyfunc
import numpy as np
import pandas as pd

from include.lifecycle.errors import BadInputError
from include.models.churn.config import REFERENCE, ChurnConfig
from include.retraining import tables
from include.retraining.packaging import package_of
from include.retraining.pipeline import Package, Pipeline, TrainedMember
from include.retraining.protocol import Columns, LoadedVersion, Mask, Metric, RowRule, Values
from include.retraining.provenance import LIBRARIES
from include.retraining.run import RetrainRun
from include.retraining.steps.pull import DATA
from include.retraining.steps.train import MEMBER
from include.retraining.table_model import MEMBER as ONLY
from include.retraining.table_model import TableData, TableModel

log = logging.getLogger(__name__)

NUMBERS = ["Age", "Calls", "Months", "Bill"]
PLANS = ["basic", "plus", "max"]
PARTS, HOLDOUT = 5, 4
"""Customers are parted by their number; one part is the holdout."""
ROLES = ("served", "backtest")


def auc(actual: Values, prediction: Values, weight: Values | None = None) -> float:
    """Return the area under the ROC curve; NaN where only one class is there or a prediction is no number."""
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

    counted = np.ones(len(actual), dtype=bool) if weight is None else weight > 0
    if len(np.unique(actual[counted])) < 2 or not np.isfinite(prediction[counted]).all():
        return float("nan")
    weights = None if weight is None else weight[counted]
    return float(roc_auc_score(actual[counted], prediction[counted], sample_weight=weights))


class ChurnMember:
    """A member of a version.

    :param predict: takes rows, returns a probability for each
    :param customers: that it was trained on
    """

    def __init__(self, predict: Any, customers: Any) -> None:
        self._predict = predict
        self._customers = customers

    def unseen(self, rows: pd.DataFrame) -> Mask:
        """Return which rows it was not trained on."""
        return ~np.isin(rows["Customer"].to_numpy(), self._customers)

    def predict(self, rows: pd.DataFrame, known: pd.DataFrame) -> Values:  # noqa: ARG002 -- the protocol's signature
        """Return (rows,) the probability that a customer leaves."""
        return np.asarray(self._predict(rows), dtype=np.float64)


class Churn(TableModel[ChurnConfig]):
    """Which customers leave."""

    reference = REFERENCE
    about = "Probability that a customer leaves."
    metric = Metric("auc", auc, lower_is_better=False, bounds=(0.0, 1.0), label="AUC", digits=3)
    rules = (RowRule("a probability", lambda _, share: (share < 0) | (share > 1)),)
    libraries = (*LIBRARIES, "lightgbm")
    columns = Columns(
        keys=("Customer",),
        actual="Left",
        slices={"Plan": "Plan"},
        inputs={"Age": "Age", "Calls": "Calls", "Months": "Months", "Bill": "Bill", "Plan": "Plan"},
    )
    table = "customers"
    inputs = {"Customer": tables.whole, **dict.fromkeys(NUMBERS, tables.number), "Plan": tables.one_of(PLANS)}  # noqa: RUF012
    known = {"Left": tables.flag}  # noqa: RUF012

    def load(self, folder: Path) -> LoadedVersion:
        """Load a version from the folder of its artifacts; consumers come through MLflow's own interface."""
        model = mlflow.pyfunc.load_model(str(folder))
        found = model.unwrap_python_model()

        def backtest() -> ChurnMember:
            member = found.backtest()
            return ChurnMember(member.predict, member.customers)

        return LoadedVersion(ChurnMember(lambda rows: model.predict(rows)["Left"], found.served.customers), backtest)

    def holdout(self, data: TableData, config: ChurnConfig) -> pd.DataFrame:  # noqa: ARG002 -- the protocol's signature
        """Return a fifth of the customers."""
        return data.known[data.known["Customer"] % PARTS == HOLDOUT]

    def train(
        self,
        run: RetrainRun,
        config: ChurnConfig,
        member: str,  # noqa: ARG002 -- there is one
        member_run: str,  # noqa: ARG002
        scratch: Path,
    ) -> TrainedMember:
        """Fit the booster on all customers, and without those of the holdout.

        :raises BadInputError: when all customers left, or none
        """
        rows = self.restore(run.fetch(DATA, scratch)).known
        if rows["Left"].nunique() < 2:
            raise BadInputError("all customers left, or none did: there is nothing to learn")
        scale = config.booster.quick_rounds_scale if run.quick else 1.0
        rounds = max(1, round(config.booster.rounds * scale))
        params = {"objective": "binary", "deterministic": True, "seed": 1, "verbosity": -1, **config.booster.params}
        parts = {"served": rows, "backtest": rows[rows["Customer"] % PARTS != HOLDOUT]}
        for role, seen in parts.items():
            plan = seen["Plan"].map(PLANS.index).to_numpy(dtype=np.float64)
            values = np.column_stack([seen[NUMBERS].to_numpy(dtype=np.float64), plan])
            names = [*NUMBERS, "Plan"]
            data = lightgbm.Dataset(values, seen["Left"].to_numpy(), feature_name=names, categorical_feature=["Plan"])
            booster = lightgbm.train(params, data, num_boost_round=rounds)
            folder = scratch / MEMBER / role
            folder.mkdir(parents=True)
            booster.save_model(str(folder / "booster.txt"))
            facts = {"customers": sorted(map(int, seen["Customer"])), "numbers": NUMBERS, "plans": PLANS}
            (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        log.info("Trained %d rounds on %d customers", rounds, len(rows))
        return TrainedMember(scratch / MEMBER, params={**params, "rounds": rounds}, told={"rounds": rounds})

    def build(self, run: RetrainRun, config: ChurnConfig, data: TableData, scratch: Path) -> Package:  # noqa: ARG002
        """Assemble the version of both members."""
        trained = run.member(ONLY).fetch(MEMBER, scratch.parent)
        folders = {role: scratch / role for role in ROLES}
        for role, folder in folders.items():
            shutil.copytree(trained / role, folder)
        return package_of(
            folders,
            Path(__file__).with_name("served.py"),
            run_id=run.run_id,
            libraries=self.libraries,
            example=data.known.drop(columns="Left").head(2),
            tags={},
            description=f"LightGBM on {len(data.known)} customers, data version `{run.tags.get('data.version')}`.",
        )


MODEL: Pipeline[ChurnConfig, TableData] = Churn()
