"""Whether the former champion would have done clearly better than Production on the same days."""

import numpy as np
import pandas as pd

from include.retraining.bootstrap import bootstrap
from include.retraining.config.monitor import RollbackConfig
from include.retraining.monitor.rows import DAY, MADE, ORIGIN, PREDICTION, VERSION, scored
from include.retraining.monitor.scores import in_window
from include.retraining.monitor.signals import percent
from include.retraining.protocol import RetrainedModel

REPLICATES = 1000
SEED = 20150619


def propose_rollback(
    joined: pd.DataFrame, model: RetrainedModel, config: RollbackConfig, *, live: int, former: int
) -> str:
    """Compare both versions on rows that both predicted from the same origin, drawing days (rows, without time).

    :param joined: of ``rows.join_actuals``; the former champion has to go on predicting
    :param live: version in Production
    :param former: the champion before it
    :return: the sentence that proposes it; empty where the former is not clearly better, or too few days tell
    """
    rows = paired(joined, model, live, former)
    rows = in_window(rows, rows[DAY].max(), config.window)
    timed = model.columns.time is not None
    units = np.asarray(pd.factorize(rows[DAY], sort=True)[0]) if timed else np.arange(len(rows))
    count = int(units.max()) + 1 if len(units) else 0
    if count < (config.days if timed else config.rows):
        return ""
    actual = rows[model.columns.actual].to_numpy(dtype=np.float64)
    ours, theirs = (rows[f"{PREDICTION}_{name}"].to_numpy(dtype=np.float64) for name in ("live", "former"))
    score, metric = model.metric.score, model.metric
    interval = bootstrap(
        lambda weight: metric.gain(score(actual, theirs, weight), score(actual, ours, weight)),
        [units],
        replicates=REPLICATES,
        seed=SEED,
        confidence=2 * config.confidence - 1,
    )
    worse, better = score(actual, ours), score(actual, theirs)
    if not (interval.low > 0 and interval.value >= config.better_by * abs(worse)):
        return ""
    what = "days" if timed else "rows"
    return (
        f"On {count} {what} that both predicted, version {former} ({metric.title} {metric.text(better)}) is"
        f" {percent(interval.value / abs(worse))} better than version {live} in Production ({metric.text(worse)}),"
        f" surely by {metric.text(interval.low)}: consider to roll back to version {former}."
    )


def paired(joined: pd.DataFrame, model: RetrainedModel, live: int, former: int) -> pd.DataFrame:
    """Return the scored rows that both versions predicted from the same origin before their day, the newest such.

    :return: rows with ``Prediction_live`` and ``Prediction_former``
    """
    rows = joined[scored(joined, model)]
    if model.columns.time is not None:
        rows = rows[rows[ORIGIN] < rows[DAY]]
    keys = [*model.columns.keys, ORIGIN]
    ours = rows[rows[VERSION] == live].rename(columns={PREDICTION: f"{PREDICTION}_live"})
    theirs = rows.loc[rows[VERSION] == former, [*keys, PREDICTION]].rename(columns={PREDICTION: f"{PREDICTION}_former"})
    both = ours.drop(columns=MADE).merge(theirs, on=keys, how="inner")
    both = both.sort_values(ORIGIN, kind="stable", na_position="first")
    return both.drop_duplicates(list(model.columns.keys), keep="last", ignore_index=True)
