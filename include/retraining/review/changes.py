"""The largest changes against Production: what consumers will notice first, drawn with what was sold a year before."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from include.lifecycle.untrusted_text import one_line
from include.retraining.config.review import ReviewLimits
from include.retraining.protocol import RetrainedModel, Values
from include.retraining.review.report import Chart, Finding, Lines, Series, Table

YEAR_DAYS = 364
"""A year in whole weeks: the same weekday."""
SHOWN = 10
DRAWN = 2


def changes(
    model: RetrainedModel,
    limits: ReviewLimits,
    rows: pd.DataFrame,
    ours: Values,
    theirs: Values | None,
    history: pd.DataFrame,
) -> Finding:
    """Compare what both versions predict for the rows that consumers ask for next.

    :param rows: rows without the actual
    :param ours: (rows,) the candidate's predictions
    :param theirs: (rows,) Production's, None where there is none
    :param history: rows with the actual, for the year before
    """
    if theirs is None:
        return Finding(None, "There is no version in Production to compare with.")
    together = float(ours.sum()) / float(theirs.sum()) - 1 if theirs.sum() else math.nan
    figures = {"together": together}
    entity = model.columns.entity
    if entity is None:
        apart = float(np.mean(np.abs(ours - theirs)))
        sentence = f"All predictions together change by {together:+.1%}, each by {apart:.3g} on average."
        return Finding(False, sentence, figures={**figures, "mean_change": apart})
    sums = pd.DataFrame({"ours": ours, "theirs": theirs}).groupby(rows[entity].to_numpy()).sum()
    sums = sums[sums["theirs"] != 0]
    sums["change"] = sums["ours"] / sums["theirs"] - 1
    large = sums["change"].abs() > limits.change
    share = float(large.mean()) if len(sums) else 0.0
    wrong = share > limits.changed_share or abs(together) > limits.change / 2 or not np.isfinite(ours).all()
    sentence = (
        f"The next {len(rows):,} rows: {together:+.1%} together; {int(large.sum()):,} of {len(sums):,} {entity}"
        f" change by more than {limits.change:.0%}."
    )
    order = sums["change"].abs().sort_values(ascending=False, kind="stable").index[:SHOWN]
    top = sums.loc[order]
    shown = zip(order, top["ours"].to_numpy(), top["theirs"].to_numpy(), top["change"].to_numpy(), strict=True)
    table = Table(
        (entity, "Candidate", "Production", "Change"),
        tuple(
            (one_line(str(name), 40), f"{ours_:,.0f}", f"{theirs_:,.0f}", f"{change:+.1%}")
            for name, ours_, theirs_, change in shown
        ),
        frozenset(np.flatnonzero(large.loc[order].to_numpy()).tolist()),
        note=f"Sums over the next rows; the {min(SHOWN, len(order))} that change most.",
    )
    charts = tuple(_drawn(model, rows, ours, theirs, history, list(order[:DRAWN])))
    return Finding(wrong, sentence, (table,), charts, {**figures, "share_changed": share})


def _drawn(
    model: RetrainedModel,
    rows: pd.DataFrame,
    ours: Values,
    theirs: Values,
    history: pd.DataFrame,
    names: list[object],
) -> Iterator[Chart]:
    time, entity, actual = model.columns.time, model.columns.entity, model.columns.actual
    if time is None or entity is None:
        return
    for number, name in enumerate(names):
        mask = (rows[entity] == name).to_numpy()
        days = pd.DatetimeIndex(rows.loc[mask, time])
        order = np.argsort(days.to_numpy(), kind="stable")
        past = history[history[entity] == name].drop_duplicates(time, keep="last").set_index(time)[actual]
        before = past.reindex(days[order] - pd.Timedelta(days=YEAR_DAYS)).to_numpy(dtype=np.float64)
        series = (
            Series("Candidate", "candidate", tuple(ours[mask][order])),
            Series("Production", "production", tuple(theirs[mask][order])),
            Series("Actual, a year before", "earlier", tuple(before)),
        )
        label = one_line(str(name), 40)
        shown = tuple(f"{day:%Y-%m-%d}" for day in days[order])
        yield Lines(f"change-{number + 1}", f"{entity} {label}", shown, series, actual)
