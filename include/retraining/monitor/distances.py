"""How far a window of days is from another one: an effect size, a share of rows, put together from days.

For numbers it is the statistic of Kolmogorov and Smirnov, for categories the total variation distance, both of the mean
differences of days, each bin's without its extreme fifths (as in ``scipy.stats.trim_mean``), so that a holiday neither
makes nor hides a change.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from include.retraining.monitor.profiles import Counts, Positions, Profile
from include.retraining.protocol import Mask

TRIMMED = 0.2
"""Share of a window's days, at either end, that do not count."""
LEAST_SHARE = 0.6
"""Share of a window's days that have to have rows, then and now."""
LEAST_PAIRS = 4
"""Days from which on one can say that they go the same way."""


@dataclass(frozen=True)
class Watched:
    """A variable: how it is now, and how it was.

    :param now: the profile that is judged
    :param then: the profile of the training time, in the same bins; of a prediction it is that of the actual
    :param effect: share of the rows that has to lie elsewhere before it matters
    """

    now: Profile
    then: Profile
    effect: float
    _days: dict[tuple[bool, int], Counts] = field(default_factory=dict, repr=False, compare=False)
    _found: dict[tuple[bool, int, int], tuple[Counts, Mask]] = field(default_factory=dict, repr=False, compare=False)

    def distances(self, lag: int, window: int, last: Positions, *, usual: bool = False) -> Counts:
        """Return the distance of windows from those ``lag`` days before; each is computed once.

        :param last: positions of their last days in ``now`` (in ``then``, of usual ones)
        :param usual: of the training time's own windows
        :return: as many; NaN where too few days have rows at both times
        """
        ours = self.then if usual else self.now
        if (usual, lag) not in self._days:
            self._days[usual, lag] = day_differences(ours, self.then, lag)
        size, key, ordered = len(ours.counts), (usual, lag, window), self.then.binning.ordered
        if key not in self._found:
            self._found[key] = np.full(size, np.nan), np.arange(size) < window - 1
        found, done = self._found[key]
        todo = last[~done[last]]
        if len(todo):
            found[todo] = window_distances(self._days[usual, lag], todo, window, ordered=ordered)
            done[todo] = True
        return np.asarray(found[last])


def window_distances(days: Counts, last: Positions, window: int, *, ordered: bool) -> Counts:
    """Return the effect size of windows of differences; NaN where too few days have any.

    :param days: of ``day_differences``
    :param last: positions of their last days, at least ``window - 1``
    :param ordered: the differences are cumulated
    """
    windows = days[last[:, None] - np.arange(window)].transpose(0, 2, 1)
    known = np.isfinite(windows[:, 0, :]).sum(axis=1)
    enough = known >= window * LEAST_SHARE
    found = np.full(len(last), np.nan)
    found[enough] = effect_size(_trimmed_mean(windows[enough], known[enough]), ordered=ordered)
    return found


def day_differences(now: Profile, then: Profile, lag: int) -> Counts:
    """Return by how much the shares of bins (of numbers: of all bins up to each) differ from ``lag`` days before.

    :return: (days of ``now``, bins) NaN where one of the two days has no rows
    """
    past = np.arange(len(now.counts)) + then.position(now.first) - lag
    inside = (past >= 0) & (past < len(then.counts))
    found = np.full(now.counts.shape, np.nan)
    found[inside] = differences(now.counts[inside], then.counts[past[inside]], ordered=then.binning.ordered)
    return found


def day_shares(counts: Counts | Positions) -> Counts:
    """Return (..., bins) shares of rows, NaN where there are none."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), np.nan)


def differences(recent: Counts | Positions, other: Counts | Positions, *, ordered: bool) -> Counts:
    """Return by how much (..., bins) shares of rows differ, of numbers those of all bins up to each.

    :param recent: counts
    :param other: counts to compare with
    """
    difference = day_shares(recent) - day_shares(other)
    if ordered:  # the last bin, of missing values, is no end of the others
        difference[..., :-1] = np.cumsum(difference[..., :-1], axis=-1)
    return difference


def _trimmed_mean(windows: Counts, known: Positions) -> Counts:
    """Return the mean of the days of windows without the extreme ones.

    :param windows: (windows, bins, days)
    :param known: (windows,) days that are not NaN
    :return: (windows, bins)
    """
    ordered = np.sort(windows, axis=2)  # NaN goes last
    total = np.concatenate([np.zeros((*ordered.shape[:2], 1)), np.cumsum(np.nan_to_num(ordered), axis=2)], axis=2)
    cut = (known * TRIMMED).astype(np.intp)
    at = np.arange(len(ordered))
    return np.asarray((total[at, :, known - cut] - total[at, :, cut]) / (known - 2 * cut)[:, None])


def effect_size(difference: Counts, *, ordered: bool) -> Counts:
    """Return which share of the rows lies elsewhere: (..., bins) differences become (...)."""
    return np.asarray(np.abs(difference).max(axis=-1) if ordered else np.abs(difference).sum(axis=-1) / 2)


def chance(recent: Counts, other: Counts, *, ordered: bool) -> float:
    """Return how likely days that differ by chance alone would differ on average as these do (Student's t-test).

    What is compared is the share of each day's rows in those bins that gained (of numbers: up to where most changed).
    """
    days = differences(recent, other, ordered=ordered)
    days = days[np.isfinite(days[:, 0])]
    if len(days) < LEAST_PAIRS:
        return 1.0
    mean = _trimmed_mean(days.T[None], np.array([len(days)]))[0]
    change = days[:, int(np.argmax(np.abs(mean)))] if ordered else days[:, mean > 0].sum(axis=1)
    if np.ptp(change) == 0:
        return 0.0 if change[0] else 1.0
    return float(stats.ttest_1samp(change, 0.0).pvalue)
