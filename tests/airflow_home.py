"""An Airflow of its own for the tests of this process: set up before Airflow is first imported."""

import atexit
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
USERS = {"anna": "admin", "ben": "op", "vera": "viewer"}
PASSWORD = "password-of-the-tests"

EXAMPLE = PROJECT / "tests" / "dags" / "example_other_model.py"

_home: Path | None = None


def prepare() -> Path:
    """Point Airflow's environment to a new folder and return it; the second call returns the same."""
    global _home
    if _home is None:
        if "airflow" in sys.modules:
            raise RuntimeError("Airflow was imported before its home was prepared: call prepare() in a conftest.py")
        _home = Path(tempfile.mkdtemp(prefix="airflow-home-"))
        atexit.register(shutil.rmtree, _home, ignore_errors=True)
        examples = _home / "examples"
        examples.mkdir()
        shutil.copy(EXAMPLE, examples)
        bundles = [_bundle("dags", PROJECT / "dags"), _bundle("examples", examples)]
        passwords = _home / "passwords.json"
        passwords.write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)), encoding="utf-8")
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            del os.environ[name]
        os.environ["AIRFLOW_HOME"] = str(_home)
        settings = {
            "CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home / 'airflow.db'}",
            "LOGGING__BASE_LOG_FOLDER": str(_home / "logs"),
            "API_AUTH__JWT_SECRET": "a secret that only these tests know, and long enough for the signature",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        os.environ.update({f"AIRFLOW__{name}": value for name, value in settings.items()})
    return _home


def example_bag() -> Any:
    """Return the DagBag of the example for another model, as the bundle ``examples`` holds it."""
    from airflow.dag_processing.dagbag import DagBag

    folder = prepare() / "examples"
    bag = DagBag(dag_folder=str(folder), bundle_path=folder, bundle_name="examples")
    assert bag.import_errors == {}
    return bag


def _bundle(name: str, path: Path) -> dict[str, Any]:
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return {"name": name, "classpath": classpath, "kwargs": {"path": str(path)}}
