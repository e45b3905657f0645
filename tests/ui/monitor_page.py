"""Take the pictures of the monitoring's dashboard, after five weeks of nights on generated data.

    python tests/ui/monitor_page.py FOLDER [--output docs/images]

Every night a data registry delivers a day more, the version in Production predicts, and the monitoring judges. A second
version takes over halfway; in the last week every store sells a fifth more than any version knows of. Real steps, a
real data registry and a real MLflow (SQLite), without Airflow. Takes some minutes; a night that is done already is not
done again.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import yaml

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from arguments import picture_arguments  # noqa: E402
from page_picture import take  # noqa: E402

STORES, MONTHS = 40, 24
NIGHTS, SECOND, FAULT, MORE = 39, 20, 30, 1.2
"""How many nights; when the second version comes; when every store begins to sell more, and how many times as much."""
HEIGHT = 890
"""Pixels, so that the live error is in the picture below the alarms."""


def configure(folder: Path) -> None:
    """Write the configuration, and let the environment name it and the folder's MLflow and data registry."""
    content = yaml.safe_load((PROJECT / "include" / "config" / "rossmann.yaml").read_text(encoding="utf-8"))
    content["prediction"]["place"] = str(folder / "predictions")
    content["lifecycle"]["approval"]["policy"]["review_required"] = False
    for booster in content["boosters"].values():
        booster["rounds"] = 150
    (folder / "rossmann.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    os.environ |= {
        "RETRAIN_CONFIG": str(folder / "rossmann.yaml"),
        "RETRAIN_DATA_REGISTRY": str(folder / "registry"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }


def deliver(folder: Path, night: int) -> str:
    """Bring the data registry to what is known in a night; return the revision."""
    from include.models.rossmann.config import TABLES
    from include.models.rossmann.data.sample import generate
    from include.retraining.data_source.publish import publish_data

    revision, registry = f"night-{night}", folder / "registry"
    tags = ["git", "-C", str(registry), "tag"]
    if registry.exists() and revision in subprocess.run(tags, capture_output=True, text=True).stdout.split():
        return revision
    data = generate(stores=STORES, months=MONTHS, extra_days=night)
    since = data.train["Date"].max() - pd.Timedelta(days=night - FAULT)
    more = data.train["Sales"].where(data.train["Date"] <= since, (data.train["Sales"] * MORE).round())
    publish_data(TABLES, registry, replace(data, train=data.train.assign(Sales=more)))
    subprocess.run([*tags, revision], check=True)
    return revision


def retrain(revision: str) -> None:
    """Train a version on a revision and put it into Production."""
    from include.lifecycle.moves.model_registry import ModelRegistry
    from include.lifecycle.registry.client import connect
    from include.lifecycle.rules.decisions import Channel, Decision, Outcome
    from include.models.rossmann.config import load_config
    from include.retraining.run import Origin
    from tests.rossmann.steps import ensemble, features, pull, register, train, validate

    config = load_config()
    run_id = str(pull(config, Origin("rossmann_retrain", revision), revision=revision)["run_id"])
    features(config, run_id)
    for booster in config.boosters:
        train(config, run_id, booster)
    ensemble(config, run_id)
    version, model = int(str(register(config, run_id)["version"])), config.lifecycle.model
    validate(config, run_id=run_id)
    registry = ModelRegistry(connect())
    registry.stage(model, version)
    registry.promote(model, version, Decision(Outcome.APPROVED, "anna", "screenshot", revision, Channel.CLI))


def night_of(revision: str) -> str:
    """Predict and judge as the DAGs do in a night; return the id of the monitoring's run."""
    from include.models.rossmann.config import load_config
    from include.retraining.predict.request import PredictionRequest
    from include.retraining.run import Origin
    from tests.rossmann.steps import monitor, predict

    config = load_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"revision": revision})})
    predict(config, PredictionRequest(publish=True), Origin("rossmann_predict", revision))
    found = monitor(config, Origin("rossmann_monitor", revision))
    print(revision, found["headline"], flush=True)
    return str(found["run_id"])


def main() -> None:
    parser = picture_arguments(__doc__)
    parser.add_argument("folder", type=Path, help="where data registry, models and MLflow's database go")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    configure(folder)
    os.chdir(folder)  # MLflow's artifacts
    done = folder / "nights.json"
    runs = json.loads(done.read_text()) if done.exists() else []
    for night in range(len(runs), NIGHTS):
        revision = deliver(folder, night)
        if night in (0, SECOND):
            retrain(revision)
        runs.append(night_of(revision))
        done.write_text(json.dumps(runs))
    from include.lifecycle.registry.client import connect
    from include.retraining.steps.monitor import FOLDER, PAGE

    with TemporaryDirectory() as scratch:
        page = Path(connect().download_artifacts(runs[NIGHTS - 1], f"{FOLDER}/{PAGE}", scratch))
        take(page, "monitor", options.output.resolve(), options.chromium, height=HEIGHT)


if __name__ == "__main__":
    main()
