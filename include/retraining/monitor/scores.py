"""Figures of live predictions: by version and day, over rolling windows, by weeks of the horizon, by slice.

All of them are computed from rows, because a metric such as the area under a curve cannot be put together from days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from include.retraining.monitor.profiles import as_text
from include.retraining.monitor.rows import (
    DAY,
    NAIVE,
    ORIGIN,
    PREDICTION,
    PUBLISHED,
    VERSION,
    Publication,
    counting,
    join_actuals,
    live_rows,
)
from include.retraining.protocol import Mask, RetrainedModel, Values

WINDOW = "Window"
HORIZON_WEEK = "HorizonWeek"
SLICE = "Slice"
VALUE = "Value"
METRIC = "metric"
EXPECTED = "expected"
ALL = "all"

_ONE_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Scores:
    """What is known of live predictions. Every frame has the columns of ``figures_of`` beside its own.

    :param days: by ``ModelVersion`` and ``Day``
    :param rolling: by ``Window`` (days) and ``Day`` (its last), over whatever versions were published, and with
        ``expected``: the validation figures of these versions, each as often as it has rows
    :param horizon: by ``ModelVersion`` and ``HorizonWeek`` (1 is the first), of the published forecasts of all origins
    :param slices: by ``Slice`` (column) and ``Value``, over the longest window
    """

    days: pd.DataFrame
    rolling: pd.DataFrame
    horizon: pd.DataFrame
    slices: pd.DataFrame


def compute_scores(
    predictions: pd.DataFrame,
    actuals: pd.DataFrame,
    published: Sequence[Publication],
    model: RetrainedModel,
    *,
    windows: Sequence[int] = (7, 14, 28),
    validation: Mapping[int, float] | None = None,
) -> Scores:
    """Return all figures, from what is stored now.

    :param predictions: stored predictions, see ``rows.forecasts_once``
    :param actuals: delivered rows, see ``rows.actuals_once``
    :param published: which version was in Production from when on
    :param windows: days of the rolling figures
    :param validation: each version's figure on rows that it was not trained on
    """
    joined = join_actuals(predictions, actuals, model.columns)
    live = live_rows(joined, actuals, model.columns, published)
    return Scores(
        days=by_day(live, model),
        rolling=rolling(live, model, windows=windows, validation=validation),
        horizon=by_horizon_week(joined, model),
        slices=by_slice(live, model, window=max(windows)),
    )


def figures_of(rows: pd.DataFrame, model: RetrainedModel) -> dict[str, float]:
    """Return the figures of rows.

    :param rows: each to be counted once
    :return: ``rows`` that are scored, ``metric``, ``bias`` (share by which predictions together are too high),
        ``coverage`` (share of the rows that came true and count which were predicted; without time nothing tells it),
        ``arrived`` (share of the predicted rows whose actual is there), ``naive`` (the metric of the naive forecast on
        the same rows) and ``gain`` over it, above 0 is better; NaN where one cannot be told
    """
    prediction = rows[PREDICTION].to_numpy(dtype=np.float64)
    predicted, counts = np.isfinite(prediction), counting(rows, model)
    mask = predicted & counts
    actual, prediction = rows[model.columns.actual].to_numpy(dtype=np.float64)[mask], prediction[mask]
    metric = _score(model, actual, prediction)
    naive = float("nan")
    if NAIVE in rows:
        plain = rows[NAIVE].to_numpy(dtype=np.float64)[mask]
        naive = _score(model, actual, plain) if np.isfinite(plain).all() else float("nan")
    return {
        "rows": float(mask.sum()),
        METRIC: metric,
        "bias": bias_of(actual, prediction),
        "coverage": _share(mask, counts) if model.columns.time is not None else float("nan"),
        "arrived": _share(rows[model.columns.actual].notna().to_numpy() & predicted, predicted),
        "naive": naive,
        "gain": model.metric.gain(metric, naive),
    }


def bias_of(actual: Values, prediction: Values) -> float:
    """Return by which share predictions together are too high (below 0: too low); NaN where actuals sum to 0."""
    total = float(actual.sum())
    return float(prediction.sum()) / total - 1 if total else float("nan")


def by_day(live: pd.DataFrame, model: RetrainedModel) -> pd.DataFrame:
    """Return the figures by version and day.

    :param live: of ``rows.live_rows``
    """
    return _grouped(live, [VERSION, DAY], model).sort_values([DAY, VERSION], ignore_index=True)


def by_horizon_week(joined: pd.DataFrame, model: RetrainedModel) -> pd.DataFrame:
    """Return the figures by version and week of the horizon, each (row, origin) once.

    :param joined: of ``rows.join_actuals``; only what was published counts
    """
    joined = joined[joined[PUBLISHED]]
    ahead = (joined[DAY] - joined[ORIGIN]).dt.days
    known = joined[ahead >= 1].assign(**{HORIZON_WEEK: ((ahead[ahead >= 1] - 1) // 7 + 1).astype(int)})
    return _grouped(known, [VERSION, HORIZON_WEEK], model)


def by_slice(live: pd.DataFrame, model: RetrainedModel, *, window: int) -> pd.DataFrame:
    """Return the figures of each slice's values.

    :param live: of ``rows.live_rows``
    :param window: days up to the newest with an actual
    """
    live = in_window(live, live.loc[live[model.columns.actual].notna(), DAY].max(), window)
    parts = [
        _grouped(live.assign(Slice=column, Value=as_text(live[column])), [SLICE, VALUE], model)
        for column in model.columns.slices
        if column in live
    ]
    if not parts:
        return _grouped(live.iloc[:0].assign(Slice="", Value=""), [SLICE, VALUE], model)
    return pd.concat(parts, ignore_index=True)


def rolling(
    live: pd.DataFrame,
    model: RetrainedModel,
    *,
    windows: Sequence[int] = (7, 14, 28),
    validation: Mapping[int, float] | None = None,
) -> pd.DataFrame:
    """Return the figures of windows of days, whichever versions were published in them.

    They end on every day from the first to the last that has an actual.

    :param live: of ``rows.live_rows``
    :param windows: their days
    :param validation: each version's validation figure
    """
    known = live.loc[live[model.columns.actual].notna(), DAY].dropna()
    ends = pd.date_range(known.min(), known.max()) if len(known) else ()
    order = live.sort_values(DAY, kind="stable")
    days = order[DAY].to_numpy()
    found = []
    for end in ends:
        for window in windows:
            first, last = np.searchsorted(
                days, [(end - (window - 1) * _ONE_DAY).to_datetime64(), (end + _ONE_DAY).to_datetime64()]
            )
            rows = order.iloc[first:last]
            if len(rows):
                expected = expected_figure(rows, model, validation or {})
                found.append({DAY: end, WINDOW: window, **figures_of(rows, model), EXPECTED: expected})
    columns = [DAY, WINDOW, *figures_of(live.iloc[:0], model), EXPECTED]
    return pd.DataFrame(found, columns=columns).astype({DAY: "datetime64[ns]"})


def expected_figure(rows: pd.DataFrame, model: RetrainedModel, validation: Mapping[int, float]) -> float:
    """Return the validation figures of the versions that predicted rows, each as often as it has scored rows.

    :return: NaN where a version has none
    """
    mask = counting(rows, model) & rows[PREDICTION].notna().to_numpy()
    known = rows.loc[mask, VERSION].map(dict(validation)).to_numpy(dtype=np.float64)
    return float(known.mean()) if len(known) else float("nan")


def in_window(rows: pd.DataFrame, end: pd.Timestamp, window: int) -> pd.DataFrame:
    """Return the rows of the ``window`` days up to and including ``end``."""
    return rows[(rows[DAY] > end - window * _ONE_DAY) & (rows[DAY] <= end)]


def _grouped(rows: pd.DataFrame, by: list[str], model: RetrainedModel) -> pd.DataFrame:
    found = [
        {**dict(zip(by, key, strict=True)), **figures_of(part, model)}
        for key, part in rows.groupby(by, sort=True, dropna=False)
    ]
    frame = pd.DataFrame(found, columns=[*by, *figures_of(rows.iloc[:0], model)])
    return frame.astype({name: rows[name].dtype for name in by})


def _score(model: RetrainedModel, actual: Values, prediction: Values) -> float:
    return float(model.metric.score(actual, prediction)) if len(actual) else float("nan")


def _share(part: Mask, whole: Mask) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")
