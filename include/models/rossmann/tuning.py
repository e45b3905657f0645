"""Search for a booster's parameters on the folds before the holdout, which has no say in them.

The search is Optuna's tree-structured Parzen estimator; what is worse than the median of the trials before it is given
up after the first folds (median pruning). Trials are kept in a journal, so that a search that was ended goes on.
"""

import difflib
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import yaml

from include.lifecycle.errors import BadInputError
from include.models.rossmann.config import Booster, RossmannConfig
from include.models.rossmann.folds import HOLDOUT, Fold
from include.models.rossmann.matrix import Matrix
from include.models.rossmann.metrics import rmspe_without_worst
from include.models.rossmann.training import Trainer
from include.retraining.files import destination

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

Value: TypeAlias = str | int | float | bool
Parameters: TypeAlias = dict[str, Value]

SPACES: dict[Booster, Callable[["optuna.Trial"], Parameters]] = {
    "lightgbm": lambda trial: {
        "num_leaves": trial.suggest_int("num_leaves", 15, 95, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.04, 0.15, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.15, 0.5),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 500, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 100.0, log=True),
    },
    "xgboost": lambda trial: {
        "max_depth": trial.suggest_int("max_depth", 5, 9),
        "learning_rate": trial.suggest_float("learning_rate", 0.025, 0.1, log=True),
        "subsample": trial.suggest_float("subsample", 0.4, 1.0),
        "colsample_bynode": trial.suggest_float("colsample_bynode", 0.1, 0.8),
        "min_child_weight": trial.suggest_float("min_child_weight", 5.0, 300.0, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100.0, log=True),
    },
    "catboost": lambda trial: {
        "depth": trial.suggest_int("depth", 5, 8),
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.2, log=True),
        "rsm": trial.suggest_float("rsm", 0.3, 1.0),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 1.0, 50.0, log=True),
        "random_strength": trial.suggest_float("random_strength", 0.1, 10.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.2, 0.6),
    },
}
"""What is searched for each booster; its other parameters stay as they are configured. No end of a range makes a fit
take much more than half as long again: what is found is to fit into the same night."""

CONFIGURED = "configured"
"""Mark of the trial of what is configured: what is not stays the library's default there, and is not drawn."""
DIGITS = 3
"""Significant digits of what is proposed: more would pretend that the folds can tell."""


class Search:
    """A search for one booster's parameters.

    :param folds: folds of the matrix; the holdout among them is left out
    :param journal: file of the trials, made when missing
    :raises BadInputError: when the file is not a journal of trials
    """

    def __init__(
        self, config: RossmannConfig, booster: Booster, matrix: Matrix, folds: Sequence[Fold], journal: Path
    ) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.booster, self.matrix = config, booster, matrix
        self.params = config.boosters[booster].params
        self.folds = [fold for fold in folds if fold.number != HOLDOUT]
        check_journal(journal)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=f"{booster} {self._key()}",
            sampler=optuna.samplers.TPESampler(seed=config.forecast.seed, n_startup_trials=8),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
            load_if_exists=True,
        )
        self.resumed = len(self.study.trials)
        if not self.resumed:  # what is configured is the first trial, which the others are held against
            self.study.enqueue_trial(self.params, user_attrs={CONFIGURED: True})

    def run(self, seconds: float) -> None:
        """Try parameters until the time is over; what was begun is ended, and at least one trial is made."""
        self.study.optimize(self._score, timeout=seconds, callbacks=[self._tell])

    @property
    def best(self) -> Parameters:
        """The parameters of the best trial, those that were not searched among them."""
        return {**self.params, **self.study.best_trial.user_attrs["params"]}

    @property
    def configured_error(self) -> float:
        """The error of what is configured, the first trial's."""
        return float(self.study.trials[0].value or float("nan"))

    def _score(self, trial: "optuna.Trial") -> float:
        import optuna

        params = {name: rounded(value) for name, value in SPACES[self.booster](trial).items()}
        if CONFIGURED in trial.user_attrs:
            params = {name: value for name, value in self.params.items() if name in params}
        trial.set_user_attr("params", params)
        trainer = Trainer(self.config.with_booster(self.booster, params={**self.params, **params}), self.booster)
        errors: list[float] = []
        for fold in self.folds:
            member, block = trainer.fit(self.matrix.until(fold.training_end)), self.matrix.block(fold.end)
            forecast = np.exp(block.base + member.predict(block.features))
            errors.append(rmspe_without_worst(block.sales, forecast))
            trial.report(float(np.mean(errors)), len(errors))
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(errors))

    def _tell(self, study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> None:
        said = f"{trial.value:.4f}" if trial.state.name == "COMPLETE" else trial.state.name.lower()
        log.info("Trial %d: %s, best %.4f (trial %d)", trial.number, said, study.best_value, study.best_trial.number)

    def _key(self) -> str:
        """Return a digest of all that a trial's error depends on but its parameters."""
        last = self.folds[-1].end
        told = {
            "rows": {str(day): digest for day, digest in self.matrix.block_digests().items() if day <= last},
            "folds": [str(fold.end) for fold in self.folds],
            "settings": self.config.boosters[self.booster].model_dump(),
            "seed": self.config.forecast.seed,
            "error": rmspe_without_worst.__name__,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def check_journal(journal: Path) -> None:
    """Refuse a file that is something else: trials would be written behind what it holds.

    :raises BadInputError: names the file
    """
    destination.check(str(journal), ("",))
    with destination.sentences(journal, "read"):
        lines = journal.read_bytes().splitlines() if journal.exists() else []
    try:
        if all("op_code" in json.loads(line) for line in lines):
            return
    except (ValueError, TypeError):
        pass
    raise BadInputError(f"{journal} is not a journal of trials: name another file")


def rounded(value: Value) -> Value:
    """Return a number with a few significant digits, anything else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def configuration_diff(text: str, booster: Booster, params: Parameters) -> str:
    """Return what to change in a configuration, as a unified diff; empty when nothing.

    :param text: the configuration's YAML, whose comments stay
    """
    place = _node(yaml.compose(text, Loader=yaml.SafeLoader), "boosters", booster, "params")
    written = ", ".join(f"{name}: {json.dumps(value)}" for name, value in params.items())
    after = f"{text[: place.start_mark.index]}{{{written}}}{text[place.end_mark.index :]}"
    before = text.splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after.splitlines(keepends=True), "before", "after"))


def _node(root: yaml.Node | None, *path: str) -> yaml.Node:
    """Return the node that keys lead to.

    :raises BadInputError: when there is none
    """
    found = root
    for key in path:
        pairs = found.value if isinstance(found, yaml.MappingNode) else []
        found = next((value for name, value in pairs if name.value == key), None)
    if found is None:
        raise BadInputError(f"the configuration has no {'.'.join(path)} to propose a change of")
    return found
