"""A version as MLflow's models-from-code: a script, the folders of its members, nothing pickled."""

import hashlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.pyfunc import log_model

from include.retraining.pipeline import Package
from include.retraining.provenance import folder_digest, library_versions


def package_of(
    folders: Mapping[str, Path],
    script: Path,
    *,
    run_id: str,
    libraries: Sequence[str],
    example: pd.DataFrame,
    tags: Mapping[str, str],
    description: str,
    code: Path | None = None,
    signature: ModelSignature | None = None,
    about: Mapping[str, object] | None = None,
) -> Package:
    """Return a version of a script and its members' folders.

    :param folders: of the members; each is an artifact of that name, and the script finds it by it
    :param script: calls ``mlflow.models.set_model``, and imports nothing of this project: it is copied
    :param example: a few rows to predict, from which a rollback shows that it still does
    :param tags: of the version
    :param description: in Markdown
    :param code: a package that the script imports by its folder's name, and that is copied along
    :param signature: by default what MLflow makes of the example
    :param about: kept in the MLmodel file
    """
    versions = library_versions(libraries)
    parts = [*(folder_digest(folder, "*") for _, folder in sorted(folders.items())), script.read_text(encoding="utf-8")]
    parts += [folder_digest(code)] if code is not None else []
    parts += [f"{name}=={version}" for name, version in sorted(versions.items())]

    def log(metadata: Mapping[str, object]) -> ModelInfo:
        with _importable(code), mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            # a key is a whole number, and never missing
            warnings.filterwarnings("ignore", message=".*Inferred schema contains integer column")
            info: ModelInfo = log_model(
                name="model",
                python_model=str(script),
                artifacts={name: str(folder) for name, folder in folders.items()},
                code_paths=[str(code)] if code is not None else None,
                signature=signature,
                input_example=example,
                pip_requirements=[f"{name}=={version}" for name, version in versions.items() if name != "python"],
                metadata={**(about or {}), **metadata},
            )
        return info

    content = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Package(tuple(folders.values()), content, log, tags, description)


@contextmanager
def _importable(package: Path | None) -> Iterator[None]:
    """Make a package importable for a while: MLflow runs the script as it logs the model."""
    if package is None:
        yield
        return
    sys.path.insert(0, str(package.parent))
    try:
        yield
    finally:
        sys.path.remove(str(package.parent))
