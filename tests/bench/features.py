"""Why the features are dense numpy: one representative table, computed three ways on the same sales.

Mean, median and standard deviation of log sales by store, weekday and promotion over 364 days, for several origins.
Figures are ratios within one run: machines are noisy. Arrow has no exact grouped median and leaves it out.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from include.models.rossmann.data.sample import generate
from include.models.rossmann.forecaster import Panel
from include.models.rossmann.forecaster.tables import cell_statistics

STORES, MONTHS, ORIGINS, DAYS, ROUNDS = 500, 30, 8, 364, 3


def main() -> None:
    data = generate(stores=STORES, months=MONTHS)
    panel = Panel.from_frames(data.train, data.store)
    sales = np.where(panel.sales > 0, panel.sales, np.nan)
    values = np.log(sales)
    weekday = (panel.days.astype("datetime64[D]").astype(np.int64) + 3) % 7
    cells = (weekday[None, :] * 2 + (panel.promo == 1)).astype(np.intp)
    origins = [values.shape[1] - 42 - 21 * number for number in range(ORIGINS)]
    rows, days = np.nonzero(np.isfinite(values))
    frame = pd.DataFrame({"store": rows, "day": days, "cell": cells[rows, days], "value": values[rows, days]})
    table = pa.Table.from_pandas(frame, preserve_index=False)

    def in_numpy(origin: int) -> np.ndarray:
        window = slice(origin - DAYS, origin)
        found = cell_statistics(values[:, window], cells[:, window])
        return found[1][found[0] > 0]

    def in_pandas(origin: int) -> np.ndarray:
        part = frame[(frame["day"] >= origin - DAYS) & (frame["day"] < origin)]
        found = part.groupby(["store", "cell"])["value"].agg(["count", "mean", "median", "std"])
        return found["mean"].to_numpy()

    def in_arrow(origin: int) -> np.ndarray:
        day = table["day"]
        part = table.filter(pa.compute.and_(pa.compute.greater_equal(day, origin - DAYS), pa.compute.less(day, origin)))
        aggregates = [("value", "count"), ("value", "mean"), ("value", "stddev")]
        found = (
            part.group_by(["store", "cell"])
            .aggregate(aggregates)
            .sort_by([("store", "ascending"), ("cell", "ascending")])
        )
        return found["value_mean"].to_numpy()

    ways: dict[str, Callable[[int], np.ndarray]] = {"numpy": in_numpy, "pandas": in_pandas, "arrow": in_arrow}
    for way in ways.values():
        np.testing.assert_allclose(way(origins[0]), in_numpy(origins[0]), rtol=1e-9)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            for origin in origins:
                way(origin)
            seconds[name].append(time.perf_counter() - started)
    best = statistics.median(seconds["numpy"])
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        sys.stdout.write(f"{name:7} {middle / ORIGINS * 1000:8.1f} ms an origin, {middle / best:5.2f} times numpy\n")


if __name__ == "__main__":
    main()
