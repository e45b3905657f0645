"""The registered model's face to MLflow. Copied into each version (models from code), so it imports nothing of ours."""

import json
from pathlib import Path
from typing import Any

import lightgbm
import mlflow.models
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

BOOSTER, FACTS = "booster.txt", "facts.json"


class Fitted:
    """A fitted booster, and the customers that it was trained on.

    :param folder: holds ``booster.txt`` and ``facts.json``
    """

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.customers = np.array(facts["customers"], dtype=np.int64)
        self.numbers: list[str] = facts["numbers"]
        self.plans: list[str] = facts["plans"]
        self.booster = lightgbm.Booster(model_file=str(folder / BOOSTER))

    def predict(self, rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return (rows,) the probability that a customer leaves.

        :raises ValueError: names a column that is missing, or a value that cannot be predicted from
        """
        if missing := [name for name in ("Customer", *self.numbers, "Plan") if name not in rows]:
            raise ValueError(f"no column {', '.join(missing)}")
        values = rows[self.numbers].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
        wrong = ~np.isfinite(values).all(axis=1) | ~rows["Plan"].isin(self.plans).to_numpy()
        if wrong.any():
            customer = rows["Customer"].to_numpy()[wrong][0]
            raise ValueError(f"customer {customer}: expected numbers, and a plan among {', '.join(self.plans)}")
        plan = np.array([self.plans.index(name) for name in rows["Plan"]], dtype=np.float64)
        if not len(rows):
            return np.empty(0)
        return np.asarray(self.booster.predict(np.column_stack([values, plan])), dtype=np.float64)


class ChurnModel(PythonModel):
    """Probability that a customer leaves.

    Input: Customer, Age, Calls, Months, Bill, Plan. Output: Customer and Left of each row, in their order. The served
    member is trained on everything, the backtest one without the customers of the holdout.
    """

    def load_context(self, context: Any) -> None:
        """Load the served member; the backtest member is loaded when validation asks for it."""
        self.served = Fitted(Path(context.artifacts["served"]))
        self.backtest_folder = Path(context.artifacts["backtest"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 -- MLflow's signature
        """Predict with the served member (see the class).

        :raises MlflowException: names what cannot be predicted from
        """
        try:
            left = self.served.predict(model_input)
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame({"Customer": model_input["Customer"].to_numpy(), "Left": left})

    def backtest(self) -> Fitted:
        """Return the backtest member."""
        return Fitted(self.backtest_folder)


mlflow.models.set_model(ChurnModel())
