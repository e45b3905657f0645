"""A second model for the generic parts: a small classifier, AUC (higher is better), no dates, no entities.

It is a real logistic regression, fitted with scikit-learn on generated customers; its version is a folder with one
file of numbers, so that nothing of it depends on how another model is packaged.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from include.retraining.protocol import Columns, Mask, Metric, RowRule, Values

FEATURES = ["Age", "Calls", "Months"]
FILE = "churn.json"


def auc(actual: Values, prediction: Values, weight: Values | None = None) -> float:
    """Return the area under the ROC curve; NaN where only one class is there or a prediction is no number."""
    counted = np.ones(len(actual), dtype=bool) if weight is None else weight > 0
    if len(np.unique(actual[counted])) < 2 or not np.isfinite(prediction[counted]).all():
        return float("nan")
    return float(
        roc_auc_score(actual[counted], prediction[counted], sample_weight=None if weight is None else weight[counted])
    )


def customers(count: int = 3000, seed: int = 1) -> pd.DataFrame:
    """Return customers, whether they left, and the group that they were put in by their number."""
    random = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "Customer": np.arange(count),
            "Age": random.uniform(18, 80, count),
            "Calls": random.poisson(3, count).astype(float),
            "Months": random.uniform(0, 60, count),
            "Plan": random.choice(["basic", "plus"], count),
        }
    )
    score = 0.6 * (rows["Calls"] - 3) - 0.05 * (rows["Months"] - 30) + random.normal(0, 1, count)
    return rows.assign(Left=(score > 0).astype(float))


@dataclass(frozen=True)
class Fitted:
    """Coefficients, and which customers they were fitted on."""

    weights: tuple[float, ...]
    parts: frozenset[int]

    def unseen(self, rows: pd.DataFrame) -> Mask:
        return ~np.isin(rows["Customer"].to_numpy() % 5, list(self.parts))

    def predict(self, rows: pd.DataFrame, known: pd.DataFrame) -> Values:
        values = rows[FEATURES].to_numpy() @ np.array(self.weights[:-1]) + self.weights[-1]
        return np.asarray(1 / (1 + np.exp(-values)))


@dataclass(frozen=True)
class Loaded:
    served: Fitted
    backtest: Fitted


class Churn:
    """Which customers leave."""

    reference = "tests.retraining.classifier:MODEL"
    horizon_days = None
    metric = Metric("auc", auc, lower_is_better=False, label="AUC", digits=3)
    rules: Sequence[RowRule] = (RowRule("a probability", lambda _, share: (share < 0) | (share > 1)),)
    columns = Columns(
        keys=("Customer",),
        actual="Left",
        slices={"Plan": "Plan"},
        inputs={"Age": "Age", "Calls": "Calls", "Plan": "Plan"},
    )

    def load(self, folder: Path) -> Loaded:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Loaded(
            *(
                Fitted(tuple(content[name]["weights"]), frozenset(content[name]["parts"]))
                for name in ("served", "backtest")
            )
        )

    def counts(self, rows: pd.DataFrame) -> Mask:
        return np.ones(len(rows), dtype=bool)


MODEL = Churn()


def save(folder: Path, rows: pd.DataFrame, *, features: Sequence[str] = FEATURES, holdout: int = 4) -> Path:
    """Fit a version and write its folder.

    :param features: those that it may look at; the others get no weight
    :param holdout: the fifth of the customers that its backtest member does not see
    """
    folder.mkdir(parents=True)
    content = {}
    for name, parts in (("served", {0, 1, 2, 3, 4}), ("backtest", {0, 1, 2, 3, 4} - {holdout})):
        seen = rows[np.isin(rows["Customer"] % 5, list(parts))]
        fitted = LogisticRegression(max_iter=1000).fit(seen[list(features)], seen["Left"])
        found = dict(zip(features, fitted.coef_[0], strict=True))
        weights = [*(float(found.get(name_, 0.0)) for name_ in FEATURES), float(fitted.intercept_[0])]
        content[name] = {"weights": weights, "parts": sorted(parts)}
    (folder / FILE).write_text(json.dumps(content), encoding="utf-8")
    (folder / "requirements.txt").write_text("", encoding="utf-8")
    return folder
