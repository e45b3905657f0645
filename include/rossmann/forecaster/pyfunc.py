"""The registered model's face to MLflow. Copied into each version together with the rest of this package."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.pyfunc.model import PythonModel

from .forecast import Forecaster


class RossmannModel(PythonModel):
    """Sales forecast from raw future rows.

    Input: Store, Date, Open, Promo, StateHoliday, SchoolHoliday; rows that carry Sales and Customers as well
    are newer history than the model's own, and the horizon counts from the newest of them. Output: Store,
    Date and Sales (euros, float64) of each row without Sales, in the order of the input.

    The model has two members: the served one, trained on everything, and the backtest one, trained up to
    the day before the holdout, which validation scores.
    """

    def load_context(self, context: Any) -> None:
        """Load the served member; the backtest member is loaded when validation asks for it.

        :param context: MLflow's context with the artifact folders ``served`` and ``backtest``
        """
        self.served = Forecaster.load(Path(context.artifacts["served"]))
        self.backtest_folder = Path(context.artifacts["backtest"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 -- MLflow's signature
        """Forecast with the served member (see the class).

        :raises ForecastInputError: names the store, date or column that cannot be forecast
        """
        return self.served.forecast(model_input)

    def backtest(self) -> Forecaster:
        """Return the backtest member."""
        return Forecaster.load(self.backtest_folder)
