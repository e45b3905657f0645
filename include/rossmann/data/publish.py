"""Commands ``sample`` and ``import-data``: fill a local data registry."""

from dataclasses import replace
from pathlib import Path

from include.rossmann.data.registry import create_registry, default_remote, import_folder
from include.rossmann.data.sample import generate, spoiled


def publish_sample(folder: Path, *, stores: int, months: int, extra_days: int, spoil: bool) -> dict[str, object]:
    """Make a data registry from generated data, or bring it to a later revision.

    :param folder: the git repository; its DVC remote lies beside it
    :param stores: number of stores
    :param months: length of the history
    :param extra_days: days more than ``months``: the same past, a later revision
    :param spoil: shuffle the newest sales, so that a model trained on them fails its gate
    :return: folder, commit, newest day
    """
    data = generate(stores=stores, months=months, extra_days=extra_days)
    if spoil:
        data = replace(data, train=spoiled(data.train))
    commit = create_registry(folder, default_remote(folder), data)
    return {"registry": str(folder), "commit": commit, "newest": str(data.train["Date"].max().date())}


def publish_folder(folder: Path, source: Path) -> dict[str, object]:
    """Put the files of a folder, unchanged, into a data registry.

    :param folder: the git repository; its DVC remote lies beside it
    :param source: folder with train.csv, store.csv and maybe future.csv, or .csv.xz or .csv.gz
    :return: folder and commit
    """
    return {"registry": str(folder), "commit": import_folder(folder, source)}
