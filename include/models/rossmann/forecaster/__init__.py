"""Sales forecaster that a registered model carries with it.

This package is copied into each model version under a name of its own, so it imports nothing of this
project but itself, and of other libraries only numpy, pandas, pyarrow and the boosters. ``pyfunc`` alone,
the face to MLflow, imports mlflow.
"""

from .blend import Blend
from .errors import ForecastInputError
from .features import FEATURE_NAMES, Block, block_features
from .forecast import Forecaster, save_forecaster
from .members import BOOSTERS, Member, load_member
from .panel import Panel
from .stores import StoreTable

__all__ = [
    "BOOSTERS",
    "FEATURE_NAMES",
    "Blend",
    "Block",
    "ForecastInputError",
    "Forecaster",
    "Member",
    "Panel",
    "StoreTable",
    "block_features",
    "load_member",
    "save_forecaster",
]
