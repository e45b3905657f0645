"""The registered model's face to MLflow. Copied into each version together with the rest of this package."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

from .errors import ForecastInputError
from .forecast import Forecaster
from .schema import as_table


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

        :raises MlflowException: names the store, date or column that cannot be forecast; of all errors, it is the one
            whose sentence MLflow's scoring server sends to its client, with the status 400
        """
        try:
            return self.served.forecast(as_table(model_input))
        except ForecastInputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def backtest(self) -> Forecaster:
        """Return the backtest member."""
        return Forecaster.load(self.backtest_folder)
