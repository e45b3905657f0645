"""Fixtures of the forecast's tests: a small chain, its matrix, and the three boosters trained on it."""

from pathlib import Path

import pandas as pd
import pytest

from include.models.rossmann.boosters import train_member
from include.models.rossmann.config import BoosterConfig
from include.models.rossmann.forecaster import BOOSTERS, Blend, Member, Panel, save_forecaster
from include.models.rossmann.matrix import TrainingMatrix, training_blocks
from tests.rossmann.joined import join
from tests.rossmann.synthetic import history_frame, store_frame

FAST = {
    "lightgbm": {"num_leaves": 15, "learning_rate": 0.1, "feature_fraction": 0.5},
    "xgboost": {"max_depth": 4, "learning_rate": 0.1, "colsample_bytree": 0.5, "subsample": 0.8},
    "catboost": {"depth": 4, "learning_rate": 0.1, "border_count": 32},
}


@pytest.fixture(scope="session")
def history() -> pd.DataFrame:
    return history_frame()


@pytest.fixture(scope="session")
def stores() -> pd.DataFrame:
    return store_frame()


@pytest.fixture(scope="session")
def panel(history: pd.DataFrame, stores: pd.DataFrame) -> Panel:
    return Panel.from_frames(history, stores)


@pytest.fixture(scope="session")
def matrix(panel: Panel) -> TrainingMatrix:
    return join(training_blocks(panel))


@pytest.fixture(scope="session")
def members(matrix: TrainingMatrix) -> dict[str, Member]:
    """The three boosters, trained up to the day before the newest block."""
    before = matrix.until(matrix.block_ends[-1] - 42)
    return {
        name: train_member(name, before, BoosterConfig(rounds=25, threads=1, params=FAST[name]), seed=3)
        for name in BOOSTERS
    }


@pytest.fixture(scope="session")
def forecaster_folder(
    panel: Panel, matrix: TrainingMatrix, members: dict[str, Member], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved forecaster whose training ended 42 days before the newest day."""
    folder = tmp_path_factory.mktemp("forecaster")
    return save_forecaster(
        folder / "model",
        panel=panel,
        members={name: member.save(folder / "native") for name, member in members.items()},
        blend=Blend({"lightgbm": 0.5, "xgboost": 0.25, "catboost": 0.25}),
        training_end=(matrix.block_ends[-1] - 42).item(),
        horizon_days=42,
    )
