"""How often the monitoring alarms in quiet months, and how soon it notices a fault: on real sales, night by night.

    python -m tests.bench.false_alarms FOLDER [--seeds 20] [--stores 400] [--only quiet|faults]

FOLDER holds the Kaggle files train.csv (or .xz) and store.csv. The 180 stores that miss the second half of 2014 are
left out of the quiet months; that they vanish is a fault of its own. Quiet months are

- replayed: 2014-07-01 to the end as they were, Christmas and Easter included, each time with other stores and other
  days on which a version is published;
- resampled: the same months, but each fortnight with the forecaster's real errors of another one (of all stores and
  days together, with the same promo days); fortnights with a public holiday keep theirs.

Faults begin on several days each. The retrain that is asked for changes nothing here: the fault stays for the 60 nights
that are looked at, which is the hardest case for "exactly one retrain".
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tests.bench.sales_weeks import CONFIG, ONE_DAY, START, Chain, Watch, completed, forecasts, make_watch, resampled
from tests.bench.tables import table
from tests.monitor_replay import Replay, rate_per_year, replay

FAULT_DAYS = (
    "2014-08-25",
    "2014-09-24",
    "2014-10-20",
    "2014-11-13",
    "2015-01-20",
    "2015-02-23",
    "2015-03-10",
    "2015-04-20",
)
NIGHTS = 60
BEFORE = 21
"""Quiet nights before a fault."""

Fault = Callable[[Chain, int, np.random.Generator], Chain]


def promo_halved(chain: Chain, since: int, random: np.random.Generator) -> Chain:
    """Half of what a store sells more on a day with promo, in the logarithm, is gone."""
    log_sales, weekday = chain.log_sales[:, :since], chain.days.day_of_week.to_numpy()[:since] < 5
    promo = np.nan_to_num(np.nanmedian(chain.values["Promo"], axis=0)) == 1
    usual = [np.nanmedian(log_sales[:, weekday & (promo[:since] == flag)], axis=1) for flag in (True, False)]
    sales = chain.values["Sales"].copy()
    sales[:, since:] *= np.where(promo[None, since:], np.exp(-0.5 * (usual[0] - usual[1]))[:, None], 1.0)
    return chain.with_values(Sales=np.round(sales))


def region_closed(chain: Chain, since: int, random: np.random.Generator) -> Chain:
    """The stores of one region close: those that always had the same school holidays."""
    school = np.nan_to_num(chain.values["SchoolHoliday"][:, :since])
    groups = pd.Series([row.tobytes() for row in school.astype(np.int8)])
    sizes = groups.map(groups.value_counts()) / len(groups)
    possible = groups[(sizes > 0.03) & (sizes < 0.2)].unique()
    gone = (groups == random.choice(possible)).to_numpy() if len(possible) else random.random(len(groups)) < 0.1
    sales, is_open = chain.values["Sales"].copy(), chain.values["Open"].copy()
    sales[gone, since:], is_open[gone, since:] = 0.0, 0.0
    return chain.with_values(Sales=sales, Open=is_open)


def prices_up(chain: Chain, since: int, random: np.random.Generator) -> Chain:
    """Everything costs a tenth more, and sells as before."""
    sales = chain.values["Sales"].copy()
    sales[:, since:] = np.round(sales[:, since:] * 1.1)
    return chain.with_values(Sales=sales)


def actuals_late(chain: Chain, since: int, random: np.random.Generator) -> Chain:
    """Actuals come three days later than they did, and go on doing so."""
    delay = np.ones(len(chain.days), dtype=np.int64)
    delay[since:] += 3
    return replace(chain, known_after=delay)


def store_missing(chain: Chain, since: int, random: np.random.Generator) -> Chain:
    """The rows of one store come no more."""
    sales = chain.values["Sales"].copy()
    sales[int(random.integers(len(chain.stores))), since:] = np.nan
    return chain.with_values(Sales=sales)


def none(chain: Chain, since: int, random: np.random.Generator) -> Chain:
    """The same nights without a fault: what is raised in them is not owed to one."""
    return chain


FAULTS: dict[str, Fault] = {
    "promo effect halved": promo_halved,
    "one region closed": region_closed,
    "prices up 10 %": prices_up,
    "actuals three days late": actuals_late,
    "a store missing": store_missing,
    "no fault": none,
}


@dataclass(frozen=True)
class Quiet:
    """Replays of quiet months."""

    name: str
    replays: Sequence[Replay]

    @property
    def nights(self) -> int:
        """Nights of all replays."""
        return sum(one.nights for one in self.replays)

    def cells(self) -> list[str]:
        """A row of the table."""
        alarms = sum(len(one.raised) for one in self.replays)
        requests = sum(len(one.requests) for one in self.replays)
        kinds = Counter(name for one in self.replays for _, name, _ in one.raised)
        rate, low, high = rate_per_year(requests, self.nights)
        return [
            self.name,
            str(len(self.replays)),
            str(self.nights),
            f"{rate_per_year(alarms, self.nights)[0]:.2f}",
            f"{rate:.2f} ({low:.2f} to {high:.2f})",
            ", ".join(f"{name} {count}" for name, count in kinds.most_common(6)) or "none",
        ]


def quiet_months(chain: Chain, seeds: int, stores: int, *, resample: bool, verbose: bool) -> Quiet:
    """Replay quiet months, one a seed."""
    replays = []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        part = chain.part(np.sort(random.choice(len(chain.stores), min(stores, len(chain.stores)), replace=False)))
        watch = make_watch(part, random)
        watch = resampled(watch, random) if resample else watch
        replays.append(replay(watch.nights(START), watch.judge, CONFIG))
        if verbose:
            for night, name, sentence in replays[-1].raised:
                sys.stderr.write(f"  {resample=} {seed=} {night:%Y-%m-%d} {name}: {sentence}\n")
    return Quiet("resampled" if resample else "replayed", replays)


def with_fault(watch: Watch, day: pd.Timestamp, fault: Fault, random: np.random.Generator) -> Replay:
    """Return the nights from three weeks before a fault to ``NIGHTS`` after its first day."""
    since = watch.chain.index(day)
    chain = fault(watch.chain, since, random)
    until = min(since + NIGHTS + 1, len(chain.days))
    first = since - (since - watch.since) % 7  # an origin of the week in which it begins
    again = forecasts(chain, first, until)
    predicted = watch.predicted.copy()
    predicted[:, first:until] = again[:, first:until]
    changed = completed(replace(watch, chain=chain, predicted=predicted))
    return replay(changed.nights(day - BEFORE * ONE_DAY, BEFORE + NIGHTS), changed.judge, CONFIG)


def fault_rows(chain: Chain, stores: int, *, verbose: bool) -> list[list[str]]:
    """Return a row of the table for each fault, over all days on which it begins."""
    found: dict[str, list[tuple[pd.Timestamp, Replay]]] = {name: [] for name in FAULTS}
    for number, text in enumerate(FAULT_DAYS):
        day, random = pd.Timestamp(text), np.random.default_rng(1000 + number)
        part = chain.part(np.sort(random.choice(len(chain.stores), min(stores, len(chain.stores)), replace=False)))
        watch = make_watch(part, random)
        for name, fault in FAULTS.items():
            found[name].append((day, with_fault(watch, day, fault, random)))
            if verbose:
                for night, alarm, sentence in found[name][-1][1].raised:
                    sys.stderr.write(f"  {name} from {text}: {night:%Y-%m-%d} {alarm}: {sentence}\n")
    return [_fault_row(name, runs) for name, runs in found.items()]


def stores_that_vanished(chain: Chain, *, verbose: bool) -> list[str]:
    """Return the table's row for what happened: 180 of all stores have no rows from 2014-07-01 on."""
    day, random = pd.Timestamp("2014-07-01"), np.random.default_rng(0)
    watch = make_watch(chain, random, day - BEFORE * ONE_DAY)
    run = replay(watch.nights(day - BEFORE * ONE_DAY, BEFORE + NIGHTS), watch.judge, CONFIG)
    if verbose:
        for night, alarm, sentence in run.raised:
            sys.stderr.write(f"  as it happened: {night:%Y-%m-%d} {alarm}: {sentence}\n")
    return _fault_row("180 of 1,115 stores missing, as it happened", [(day, run)])


def _fault_row(name: str, runs: list[tuple[pd.Timestamp, Replay]]) -> list[str]:
    delays = [run.after(day) for day, run in runs]
    known = [delay for delay in delays if delay is not None]
    requests = [sum(pd.Timestamp(one.opened) >= day for one in run.requests) for day, run in runs]
    early = sum(len(run.requests) for _, run in runs) - sum(requests)
    first = Counter(next((alarm for night, alarm, _ in run.raised if night >= day), "") for day, run in runs)
    return [
        name,
        f"{len(known)} of {len(runs)}",
        f"{np.median(known):.0f} ({min(known)} to {max(known)})" if known else "",
        ", ".join(f"{count} x {number}" for number, count in sorted(Counter(requests).items())),
        str(early),
        ", ".join(f"{alarm} {count}" for alarm, count in first.most_common(4) if alarm),
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--stores", type=int, default=400)
    parser.add_argument("--only", choices=["quiet", "faults"])
    parser.add_argument("--verbose", action="store_true", help="print each alarm")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "All-NaN slice")
    started, chain = time.monotonic(), Chain.read(options.folder)
    complete = chain.part(chain.complete)
    if options.only != "faults":
        quiet = [
            quiet_months(complete, options.seeds, options.stores, resample=resample, verbose=options.verbose)
            for resample in (False, True)
        ]
        both = Quiet("both", [one for part in quiet for one in part.replays])
        head = ["Quiet months", "replays", "nights", "alarms in 12 months", "retrains asked in 12 months", "alarms"]
        sys.stdout.write(table(head, [part.cells() for part in [*quiet, both]]) + "\n")
    if options.only != "quiet":
        rows = fault_rows(complete, options.stores, verbose=options.verbose)
        rows.append(stores_that_vanished(chain, verbose=options.verbose))
        head = ["Fault", "noticed", "after days", "retrains asked", "before the fault", "first alarm"]
        sys.stdout.write(table(head, rows) + "\n")
    sys.stdout.write(f"{time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    main()
