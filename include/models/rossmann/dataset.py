"""The checked data of one retrain, as it travels between steps: compact Parquet files."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Dataset:
    """History (one row a store and day), store table, and the future rows that the data registry holds.

    :param warnings: what its checks found odd, a sentence each; not kept with the files
    """

    train: pd.DataFrame
    stores: pd.DataFrame
    future: pd.DataFrame | None = None
    warnings: tuple[str, ...] = ()

    @property
    def end(self) -> pd.Timestamp:
        """Newest day of the history: the forecast origin of the served member."""
        return pd.Timestamp(self.train["Date"].max())

    def after(self, day: pd.Timestamp) -> pd.DataFrame:
        """Return the history after ``day``."""
        return self.train[self.train["Date"] > day]


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the data set as Parquet files.

    :param folder: created when missing
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "stores", "future"):
        frame: pd.DataFrame | None = getattr(dataset, name)
        if frame is not None:
            frame.to_parquet(folder / f"{name}.parquet", compression="zstd", index=False)


def load_dataset(folder: Path) -> Dataset:
    """Read what ``save_dataset`` wrote."""
    future = folder / "future.parquet"
    return Dataset(
        train=pd.read_parquet(folder / "train.parquet"),
        stores=pd.read_parquet(folder / "stores.parquet"),
        future=pd.read_parquet(future) if future.exists() else None,
    )


def with_types(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the model's input columns, in the types that versions whose signature has types take."""
    columns = {"Store": "int64", "Date": "datetime64[ns]", "StateHoliday": "object"}
    columns |= dict.fromkeys(("Open", "Promo", "SchoolHoliday", "Sales", "Customers"), "float64")
    return rows[[name for name in columns if name in rows]].astype({n: t for n, t in columns.items() if n in rows})
