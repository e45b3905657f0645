"""The registered model as one artifact: native booster files, its own feature code, its history.

MLflow's models-from-code: ``model.py`` is one line that imports the forecaster package and sets the model, so
nothing is pickled. The package travels in the artifact under a name that belongs to this version alone; two
versions with different feature code can be loaded in one process, and each uses its own.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from include.models.rossmann.config import MODEL_LIBRARIES
from include.models.rossmann.forecaster import Forecaster
from include.models.rossmann.forecaster.schema import OPTIONAL, REQUIRED
from include.retraining.packaging import package_of
from include.retraining.pipeline import Package
from include.retraining.provenance import folder_digest

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


def package_ensemble(
    folders: Mapping[str, Path],
    build: Path,
    *,
    run_id: str,
    tags: Mapping[str, str],
    description: str,
    source: Path = FORECASTER,
) -> Package:
    """Return the version of two members.

    :param folders: of the members ``served`` and ``backtest``, as ``Forecaster.load`` reads them
    :param build: scratch folder, which gets the code of the version
    :param tags: of the version
    :param description: in Markdown
    """
    name = f"{PACKAGE_PREFIX}_{run_id[:8]}_{folder_digest(source)[:8]}"
    code, script = build / name, build / "model.py"
    shutil.copytree(source, code, ignore=shutil.ignore_patterns("__pycache__"))
    script.write_text(MODEL_SCRIPT.format(package=name), encoding="utf-8")
    return package_of(
        folders,
        script,
        run_id=run_id,
        libraries=MODEL_LIBRARIES,
        example=input_example(folders["served"]),
        tags=tags,
        description=description,
        code=code,
        signature=SIGNATURE,
        about={"inputs": INPUTS},
    )


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
