"""The registered model as one artifact: native booster files, its own feature code, its history.

MLflow's models-from-code: ``model.py`` is one line that imports the forecaster package and sets the model, so
nothing is pickled. The package travels in the artifact under a name that belongs to this version alone; two
versions with different feature code can be loaded in one process, and each uses its own.
"""

import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.pyfunc import log_model
from mlflow.types import ColSpec, DataType, Schema

from include.rossmann.forecaster import Forecaster
from include.rossmann.forecaster.schema import OPTIONAL, REQUIRED
from include.rossmann.versions import folder_digest, library_versions

log = logging.getLogger(__name__)

FORECASTER = Path(__file__).resolve().parent / "forecaster"
PACKAGE_PREFIX = "rossmann_forecaster"
MODEL_SCRIPT = """\
import mlflow.models

from {package}.pyfunc import RossmannModel

mlflow.models.set_model(RossmannModel())
"""

SIGNATURE = ModelSignature(
    outputs=Schema(
        [ColSpec(DataType.long, "Store"), ColSpec(DataType.datetime, "Date"), ColSpec(DataType.double, "Sales")]
    ),
)
"""What comes out. What goes in is the model's own to check (``forecaster.schema``), as it says in ``INPUTS``: types of
MLflow would make store 1 of 1.9, 9 January of 01.09.2014 and a day of a time before the model saw them, refuse whole
numbers where they want others, and refuse every CSV file that is sent to the server."""
INPUTS = {"required": list(REQUIRED), "optional": list(OPTIONAL)}
"""Kept with the model, for whoever wants to know what to send."""


@dataclass(frozen=True)
class ModelFolders:
    """Folders of the two members, as ``Forecaster.load`` reads them."""

    served: Path
    backtest: Path


def package_name(run_id: str, source: Path = FORECASTER) -> str:
    """Return the name under which a version carries its feature code: the run that made it, and the code's digest."""
    return f"{PACKAGE_PREFIX}_{run_id[:8]}_{folder_digest(source)[:8]}"


def log_ensemble(
    folders: ModelFolders,
    build: Path,
    *,
    run_id: str,
    metadata: Mapping[str, object],
    source: Path = FORECASTER,
) -> ModelInfo:
    """Log the ensemble as one model of the retrain's MLflow run.

    :param folders: the two members
    :param build: scratch folder
    :param run_id: the retrain's run
    :param metadata: kept in the MLmodel file
    :param source: the forecaster package that the model carries
    :return: what MLflow says of the logged model
    """
    package = package_name(run_id, source)
    script = build / "model.py"
    shutil.copytree(source, build / package, ignore=shutil.ignore_patterns("__pycache__"))
    script.write_text(MODEL_SCRIPT.format(package=package), encoding="utf-8")
    requirements = [f"{name}=={value}" for name, value in library_versions().items() if name != "python"]
    with importable(build), mlflow.start_run(run_id=run_id):
        info: ModelInfo = log_model(
            name="model",
            python_model=str(script),
            artifacts={"served": str(folders.served), "backtest": str(folders.backtest)},
            code_paths=[str(build / package)],
            signature=SIGNATURE,
            input_example=input_example(folders.served),
            pip_requirements=requirements,
            metadata={"inputs": INPUTS, **metadata},
        )
    return info


def input_example(served: Path) -> pd.DataFrame:
    """Return two rows that the served member can forecast: one store, the two days after its training end."""
    forecaster = Forecaster.load(served)
    start = pd.Timestamp(forecaster.training_end) + pd.Timedelta(days=1)
    return pd.DataFrame(
        {
            "Store": pd.Series([int(forecaster.panel.stores.store[0])] * 2, dtype="int64"),
            "Date": pd.date_range(start, periods=2),
            "Open": [1.0, 1.0],
            "Promo": [1.0, 0.0],
            "StateHoliday": ["0", "0"],
            "SchoolHoliday": [0.0, 0.0],
        }
    )


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Make the packages of a folder importable for a while: MLflow runs ``model.py`` as it logs the model."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
