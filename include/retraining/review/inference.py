"""Inference tests: the version as the registry has it, asked as a consumer asks it."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from include.lifecycle.untrusted_text import one_line
from include.retraining.bootstrap import Codes
from include.retraining.protocol import LoadedVersion, Mask, RetrainedModel, Values
from include.retraining.review.report import Finding, Table

SHOWN = 5
"""Rows, groups or libraries that a table lists."""
SMALL = 1e-6
"""Relative difference below which two predictions of the same row are the same."""
ENOUGH_HISTORY = 28
"""Rows with an actual that an entity needs, before its forecasts are held against them."""
REQUIREMENTS = "requirements.txt"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)")


def predict(version: LoadedVersion, rows: pd.DataFrame, known: pd.DataFrame) -> tuple[Values | None, str]:
    """Return predictions of the served member, or None and the sentence of its error."""
    try:
        return np.asarray(version.served.predict(rows, known), dtype=np.float64), ""
    except Exception as error:  # noqa: BLE001 -- whatever a model's own code raises is what the test finds
        return None, f"{type(error).__name__}: {one_line(str(error), 300)}"


def check_outputs(model: RetrainedModel, rows: pd.DataFrame, predicted: Values | None, error: str) -> Finding:
    """Check that there is one finite number for each row, and that no rule of the model is broken."""
    if predicted is None:
        return Finding(True, f"It does not predict: {error}")
    if len(predicted) != len(rows):
        return Finding(True, f"{len(rows):,} rows were asked for, {len(predicted):,} predictions came.")
    checks: list[tuple[str, Mask]] = [("a finite number", ~np.isfinite(predicted))]
    with np.errstate(invalid="ignore"):
        checks += [(rule.name, np.asarray(rule.broken(rows, predicted), dtype=bool)) for rule in model.rules]
    broken = [(name, mask) for name, mask in checks if mask.any()]
    names = ", ".join(name for name, _ in checks)
    if not broken:
        return Finding(False, f"{len(rows):,} rows predicted; each: {names}.")
    told = "; ".join(f"{int(mask.sum()):,} of {len(rows):,} rows break “{name}”" for name, mask in broken)
    shown = [(name, int(position)) for name, mask in broken for position in np.flatnonzero(mask)[:SHOWN]]
    table = Table(
        (*model.columns.keys, "Rule", "Prediction"),
        tuple((*_keys(model, rows, position), name, f"{predicted[position]:g}") for name, position in shown),
        note=f"The first {SHOWN} of each rule.",
    )
    return Finding(True, f"{told}.", (table,))


def check_plausible(
    model: RetrainedModel, rows: pd.DataFrame, predicted: Values, history: pd.DataFrame, factor: float
) -> Finding:
    """Check that each entity's predictions lie inside what its history makes plausible.

    That is from its smallest actual divided by ``factor`` to its largest times ``factor``, of rows that count.
    Predictions of 0 are looked at by the model's own rules.

    :param history: rows with the actual
    """
    entity = model.columns.entity
    if entity is None:
        return Finding(False, "The model has no entities whose history could be looked at.")
    scored = history[model.counts(history)]
    span = scored.groupby(entity)[model.columns.actual].agg(["min", "max", "size"])
    known = span.reindex(rows[entity].to_numpy())
    enough = known["size"].to_numpy() >= ENOUGH_HISTORY
    low, high = known["min"].to_numpy() / factor, known["max"].to_numpy() * factor
    with np.errstate(invalid="ignore"):
        outside = enough & (predicted != 0) & ((predicted < low) | (predicted > high))
    if not outside.any():
        return Finding(False, f"All of {len(span):,} within {factor:g} times their own history.")
    first = np.flatnonzero(outside)[:SHOWN]
    table = Table(
        (*model.columns.keys, "Prediction", "Lowest ever", "Highest ever"),
        tuple(
            (
                *_keys(model, rows, row),
                *(f"{value:,.1f}" for value in (predicted[row], *known[["min", "max"]].iloc[row])),
            )
            for row in first
        ),
        note=f"The first {SHOWN}.",
    )
    count = rows.loc[outside, entity].nunique()
    wrong = (
        f"{int(outside.sum()):,} predictions of {count:,} {entity} lie more than {factor:g} times beyond its history."
    )
    return Finding(True, wrong, (table,))


def check_consistent(
    model: RetrainedModel, rows: pd.DataFrame, predicted: Values, known: pd.DataFrame, loaded: LoadedVersion, seed: int
) -> Finding:
    """Check that the same input gives the same output: again, in another order, and a part of it by itself.

    The part is one entity with all of its days (a forecast may use the schedule around a day), else one row.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    part = _alone(model, rows, order)
    tries: list[tuple[str, Codes]] = [
        ("the same rows again", np.arange(len(rows))),
        ("the rows in another order", order),
        (f"one {model.columns.entity or 'row'} by itself", part),
    ]
    wrong = []
    for name, positions in tries:
        found, error = predict(loaded, rows.iloc[positions].reset_index(drop=True), known)
        if found is None or len(found) != len(positions):
            wrong.append(f"{name}: {error or 'another number of predictions'}")
            continue
        wanted = predicted[positions]
        with np.errstate(invalid="ignore"):
            apart = np.abs(found - wanted) > SMALL * np.maximum(1.0, np.abs(wanted))
        apart |= np.isnan(found) != np.isnan(wanted)
        if apart.any():
            wrong.append(f"{name}: {int(apart.sum()):,} of {len(positions):,} predictions differ")
    if wrong:
        return Finding(True, f"Predictions depend on more than their row. {'; '.join(wrong)}.")
    return Finding(False, f"The same predictions for {', '.join(name for name, _ in tries)}.")


def check_environment(folder: Path) -> Finding:
    """Compare the library versions that a version was made with to those that are installed here."""
    file = folder / REQUIREMENTS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    pins = [match.groups() for line in lines if (match := _PIN.match(line.strip()))]
    if not pins:
        return Finding(True, "It does not say which library versions it needs.")
    rows = [(name, wanted, _installed(name)) for name, wanted in pins]
    differing = [row for row in rows if row[1] != row[2]]
    if not differing:
        return Finding(
            False, f"The {len(rows)} libraries that it was made with are installed here in the same versions."
        )
    listed = ", ".join(f"{name} {here} (made with {wanted})" for name, wanted, here in differing)
    table = Table(("Library", "Made with", "Installed"), tuple(differing))
    return Finding(True, f"Other versions are installed here: {one_line(listed, 300)}.", (table,))


def _alone(model: RetrainedModel, rows: pd.DataFrame, order: Codes) -> Codes:
    entity = model.columns.entity
    if entity is None:
        return order[:1]
    values = rows[entity].to_numpy()
    return np.flatnonzero(values == values[order[0]])


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _keys(model: RetrainedModel, rows: pd.DataFrame, row: int) -> tuple[str, ...]:
    values = (rows[key].iloc[row] for key in model.columns.keys)
    return tuple(f"{one:%Y-%m-%d}" if isinstance(one, pd.Timestamp) else one_line(str(one), 40) for one in values)
