"""Whether the rows to predict are distributed otherwise than those that came true, for models without time.

There are no weeks to compare with. So the distance, a share of rows as in ``distances``, has to matter, and to be
clearly larger than what as many rows differ by when they are drawn from both together.
"""

import numpy as np
import pandas as pd

from include.retraining.config.monitor import MonitorConfig
from include.retraining.monitor.distances import day_shares, differences, effect_size
from include.retraining.monitor.profiles import Binning, Counts, Positions
from include.retraining.monitor.signals import Signal, percent
from include.retraining.protocol import Columns

DRAWS = 100
SEED = 20150619


def judge_population(
    asked: pd.DataFrame, known: pd.DataFrame, columns: Columns, config: MonitorConfig, *, today: pd.Timestamp
) -> list[Signal]:
    """Return a signal for each input that both have.

    :param asked: rows to predict
    :param known: rows that came true
    :param today: the night that judges
    :return: none where there are too few rows
    """
    if min(len(asked), len(known)) < config.least_rows:
        return []
    inputs = {column: label for column, label in columns.inputs.items() if column in asked and column in known}
    return [_judged(asked[column], known[column], label, config, today) for column, label in inputs.items()]


def _judged(asked: pd.Series, known: pd.Series, label: str, config: MonitorConfig, today: pd.Timestamp) -> Signal:
    binning = Binning.of(known)
    now, then = (np.bincount(binning.codes(column), minlength=binning.size) for column in (asked, known))
    difference = differences(now, then, ordered=binning.ordered)
    effect = float(effect_size(difference, ordered=binning.ordered))
    usual = float(_drawn(now, then, ordered=binning.ordered).max())
    limit = min(max(config.drift.rows_effect, config.drift.beyond * usual), 1.0)
    shares = day_shares(np.array([then, now]))
    moved = int(np.argmax(np.abs(shares[1] - shares[0])))
    sentence = (
        f"{label[:1].upper() + label[1:]}: {percent(effect, 1)} of the {len(asked)} rows to predict lie elsewhere than"
        f" those that came true (limit {percent(limit, 1)}); most at {binning.name(moved)}:"
        f" {percent(shares[0, moved], 1)} then, {percent(shares[1, moved], 1)} now."
    )
    return Signal("drift", label, today, None, effect > limit, effect < limit, effect, limit, sentence)


def _drawn(now: Positions, then: Positions, *, ordered: bool) -> Counts:
    """Return (draws,) distances of as many rows, drawn from both together."""
    random, both = np.random.default_rng(SEED), (now + then) / (now + then).sum()
    ours, theirs = (random.multinomial(int(part.sum()), both, DRAWS) for part in (now, then))
    return effect_size(differences(ours, theirs, ordered=ordered), ordered=ordered)
