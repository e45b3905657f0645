"""Search for a booster's parameters on the folds before the holdout, which has no say in them.

The search is Optuna's tree-structured Parzen estimator; what is worse than the median of the trials before it is given
up after the first folds (median pruning). Trials are kept in a journal, so that a search that was ended goes on.
"""

import difflib
import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import yaml

from include.lifecycle.errors import BadInputError
from include.models.rossmann.config import Booster, RossmannConfig
from include.models.rossmann.folds import HOLDOUT, Fold
from include.models.rossmann.kept_folds import fold_key
from include.models.rossmann.matrix import Matrix
from include.models.rossmann.metrics import WORST, rmspe_without_worst
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
JOURNAL_START = b'{"op_code":'
"""What every line of a journal begins with."""
DOUBT = 0.1
"""A trial is given up when one as good as the best would so seldom be this much worse on the same folds: p-value of
Wilcoxon's signed-rank test, one-sided, so after four folds at the earliest. Folds differ more than trials do."""
DIGITS = 3
"""Significant digits of what is proposed: more would pretend that the folds can tell."""


class Search:
    """A search for one booster's parameters.

    :param folds: folds of the matrix; the holdout among them is left out
    :param journal: file of the trials, made when missing
    :raises BadInputError: see ``check_journal``
    """

    def __init__(
        self, config: RossmannConfig, booster: Booster, matrix: Matrix, folds: Sequence[Fold], journal: Path
    ) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=DOUBT)
        self.config, self.booster, self.matrix = config, booster, matrix
        self.params = config.boosters[booster].params
        self.folds = [fold for fold in folds if fold.number != HOLDOUT]
        check_journal(journal)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=f"{booster} {self._key()}",
            pruner=pruner,
            load_if_exists=True,
        )
        seed = config.forecast.seed + len(self.study.trials)  # a search that goes on draws others than before
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
        self.resumed = self.ended
        if not self._configured("COMPLETE", "WAITING"):
            self.study.enqueue_trial(self.params, user_attrs={CONFIGURED: True})

    def run(self, seconds: float) -> None:
        """Try parameters until the time is over; what was begun is ended, and at least one trial is made.

        What is configured is tried first, unless it was before.
        """
        self.study.optimize(self._score, timeout=seconds, callbacks=[self._tell])

    @property
    def best(self) -> Parameters:
        """The parameters of the best trial, those that were not searched among them."""
        return {**self.params, **self.study.best_trial.user_attrs["params"]}

    @property
    def ended(self) -> int:
        """How many trials were made or given up; those that were killed or failed do not count."""
        return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in self.study.trials)

    @property
    def configured_error(self) -> float:
        """The error of what is configured, NaN where another search of this journal still tries it."""
        done = self._configured("COMPLETE")
        return float(done[0].value) if done and done[0].value is not None else float("nan")

    def _configured(self, *states: str) -> list["optuna.trial.FrozenTrial"]:
        """Return the trials of what is configured that are in one of some states."""
        return [trial for trial in self.study.trials if CONFIGURED in trial.user_attrs and trial.state.name in states]

    def _score(self, trial: "optuna.Trial") -> float:
        import optuna

        params = {name: rounded(value) for name, value in SPACES[self.booster](trial).items()}
        if CONFIGURED in trial.user_attrs:
            params = {name: value for name, value in self.params.items() if name in params}
        trial.set_user_attr("params", params)
        trainer = Trainer(self.config.with_booster(self.booster, params={**self.params, **params}), self.booster)
        errors: list[float] = []
        for number, fold in enumerate(self.folds):
            member, block = trainer.fit(self.matrix.until(fold.training_end)), self.matrix.block(fold.end)
            forecast = np.exp(block.base + member.predict(block.features))
            errors.append(rmspe_without_worst(block.sales, forecast))
            trial.report(errors[-1], number)
            if trial.should_prune() and CONFIGURED not in trial.user_attrs:
                raise optuna.TrialPruned
        return float(np.mean(errors))

    def _tell(self, study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> None:
        said = f"{trial.value:.4f}" if trial.state.name == "COMPLETE" else trial.state.name.lower()
        log.info("Trial %d: %s, best %.4f (trial %d)", trial.number, said, study.best_value, study.best_trial.number)

    def _key(self) -> str:
        """Return a digest of all that a trial's error depends on but its parameters, and of what it reports."""
        digests = self.matrix.until(self.folds[-1].end).block_digests()
        settings = Trainer(self.config, self.booster).settings_key()
        told = [fold_key(digests, fold, settings) for fold in self.folds]
        told.append(f"{rmspe_without_worst.__name__} {WORST} of each fold")
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def check_journal(journal: Path) -> None:
    """Open a journal for more trials: it is made when missing, and a last line that was not written whole is cut off.

    :raises BadInputError: when the file is something else, is no regular file, or cannot be written; names it
    """
    with destination.sentences(journal):
        if journal.exists() and not journal.is_file():
            raise BadInputError(f"--journal {journal} is no regular file: name another")
        if not journal.parent.is_dir():
            raise BadInputError(f"--journal {journal}: {journal.parent} is no folder; make it, or name another file")
        with journal.open("a+b") as file:
            file.seek(0)
            lines = file.readlines()
            torn = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
            if not all(map(_is_entry, lines)) or not (lines or JOURNAL_START.startswith(torn[: len(JOURNAL_START)])):
                raise BadInputError(f"--journal {journal} is not a journal of trials: name another file")
            if torn:
                file.truncate(sum(map(len, lines)))


def _is_entry(line: bytes) -> bool:
    """Return whether a line is one of a journal."""
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


def rounded(value: Value) -> Value:
    """Return a number with a few significant digits, anything else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def configuration_diff(text: str, booster: Booster, params: Parameters) -> str:
    """Return what to change in a configuration, as a unified diff; empty when nothing.

    :param text: the configuration's YAML, whose comments stay
    """
    place = _node(yaml.compose(text, Loader=yaml.SafeLoader), "boosters", booster, "params")
    written = ", ".join(f"{name}: {json.dumps(value)}" for name, value in params.items())
    after = f"{text[: place.start_mark.index]}{{{written}}}{text[_end(place) :]}"
    before = text.splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after.splitlines(keepends=True), "before", "after"))


def _end(node: yaml.Node) -> int:
    """Return where a node's text ends: a block's mark lies at what comes after it, behind comments."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    return int(node.end_mark.index)


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
