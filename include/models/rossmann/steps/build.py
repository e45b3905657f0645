"""Assembles a version of the members that a retrain trained, and says what it is."""

import json
from pathlib import Path

import pandas as pd

from include.models.rossmann.config import RossmannConfig
from include.models.rossmann.dataset import Dataset
from include.models.rossmann.forecaster import Blend, Panel, save_forecaster
from include.models.rossmann.forecaster.forecast import BLEND_FILE
from include.models.rossmann.packaging import package_ensemble
from include.retraining.pipeline import Package
from include.retraining.run import RetrainRun
from include.retraining.steps.train import MEMBER

SHOWN_METRICS = {"RMSPE": "holdout_rmspe", "naive forecast": "holdout_rmspe_naive"}
CARRIED_METRICS = ("holdout_rmspe", "cv_rmspe_mean", "cv_rmspe_std", "ensemble_gain")


def build(run: RetrainRun, config: RossmannConfig, dataset: Dataset, scratch: Path) -> Package:
    """Assemble the ensemble: both members, from the boosters' files, the blend and the history.

    :param scratch: an empty folder; what is in it is the version, what is beside it is not
    """
    settings = json.loads(run.fetch(f"ensemble/{BLEND_FILE}", scratch.parent).read_text(encoding="utf-8"))
    blend = Blend(settings["weights"])
    folders = build_folders(run, config, dataset, blend, scratch)
    return package_ensemble(
        folders, scratch, run_id=run.run_id, tags=version_tags(run, blend), description=describe(run, blend)
    )


def build_folders(
    run: RetrainRun, config: RossmannConfig, dataset: Dataset, blend: Blend, target: Path
) -> dict[str, Path]:
    """Write the folders of the served and the backtest member, and return them by these names."""
    trained = {}
    for booster in config.boosters:
        local = target.parent / "natives" / booster
        local.mkdir(parents=True)
        trained[booster] = run.member(booster).fetch(MEMBER, local)
    panel = Panel.from_frames(dataset.train, dataset.stores)
    horizon = config.forecast.horizon_days
    ends = {"served": dataset.end, "backtest": dataset.end - pd.Timedelta(days=horizon)}
    return {
        role: save_forecaster(
            target / role,
            panel=panel,
            members={booster: next((folder / role).glob(f"{booster}.*")) for booster, folder in trained.items()},
            blend=blend,
            training_end=end.date(),
            horizon_days=horizon,
        )
        for role, end in ends.items()
    }


def version_tags(run: RetrainRun, blend: Blend) -> dict[str, str]:
    """Return the tags of a version that only this model has: its weights, and how well it forecasts."""
    metrics = run.run.data.metrics
    return {
        "ensemble.weights": json.dumps({name: round(weight, 6) for name, weight in blend.weights.items()}),
    } | {name: f"{metrics[name]:.6f}" for name in CARRIED_METRICS if name in metrics}


def describe(run: RetrainRun, blend: Blend) -> str:
    """Return the version's description, in Markdown."""
    metrics, tags = run.run.data.metrics, run.tags
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in blend.weights.items())
    scores = [f"{name} {metrics[key]:.4f}" for name, key in SHOWN_METRICS.items() if key in metrics]
    lines = [
        f"Weighted blend of boosted trees ({weights}).",
        f"Trained up to {tags.get('training.end', 'unknown')}, data version `{tags.get('data.version', 'unknown')}`.",
        f"Backtest on {tags.get('holdout.start')} to {tags.get('holdout.end')}: {', '.join(scores)}.",
    ]
    return "\n\n".join(lines)
