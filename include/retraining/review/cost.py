"""The item of what a version costs: time and memory, against limits and against Production's."""

from include.retraining.config.review import ReviewLimits
from include.retraining.review.probe import Cost
from include.retraining.review.report import Finding, Table

NOISE_SECONDS, NOISE_MB = 1.0, 100.0
"""Differences that a busy machine makes by itself."""


def objections(limits: ReviewLimits, ours: Cost, theirs: Cost | str | None) -> list[str]:
    """Return what a candidate's cost is above, nothing where it is within limits."""
    told = [
        f"{name} {found:,.4g} {unit} is above {limit:,.4g}"
        for name, found, limit, unit in (
            ("time to the first row", ours.first_row, limits.first_row_seconds, "s"),
            ("time for each row", ours.row_milliseconds, limits.row_milliseconds, "ms"),
            ("peak memory", ours.peak_mb, limits.memory_mb, "MB"),
        )
        if found > limit
    ]
    if isinstance(theirs, Cost):
        told += [
            f"{name} is {found / other:.1f} times Production's"
            for name, found, other, noise in (
                ("time to the first row", ours.first_row, theirs.first_row, NOISE_SECONDS),
                ("time for all rows", ours.batch, theirs.batch, NOISE_SECONDS),
                ("peak memory", ours.peak_mb, theirs.peak_mb, NOISE_MB),
            )
            if found > limits.slower * other and found - other > noise
        ]
    return told


def speed(limits: ReviewLimits, ours: Cost | str, theirs: Cost | str | None) -> Finding:
    """Compare what both versions cost.

    :param ours: the candidate's cost, or why it could not be measured
    :param theirs: Production's, None where there is none
    """
    if isinstance(ours, str):
        return Finding(True, f"The candidate's cost is not known: {ours}.")
    told = objections(limits, ours, theirs)
    well = (
        f"First row after {ours.first_row:.1f} s, {ours.row_milliseconds:.2f} ms a row,"
        f" {ours.peak_mb:,.0f} MB: within limits."
    )
    sentence = "; ".join(told)
    sentence = f"{sentence[0].upper()}{sentence[1:]}." if told else well
    other = theirs if isinstance(theirs, Cost) else None
    rows = (
        ("First row, s", f"{ours.first_row:.2f}", f"{other.first_row:.2f}" if other else "–"),
        (f"{ours.rows:,} rows, s", f"{ours.batch:.2f}", f"{other.batch:.2f}" if other else "–"),
        ("Each row, ms", f"{ours.row_milliseconds:.3f}", f"{other.row_milliseconds:.3f}" if other else "–"),
        ("Peak memory, MB", f"{ours.peak_mb:,.0f}", f"{other.peak_mb:,.0f}" if other else "–"),
    )
    note = (
        f"Production's: {theirs}." if isinstance(theirs, str) else "Each in a process of its own, one after the other."
    )
    figures = {"first_row_seconds": ours.first_row, "row_milliseconds": ours.row_milliseconds, "peak_mb": ours.peak_mb}
    if other is not None:
        figures |= {"production_batch_seconds": other.batch, "batch_seconds": ours.batch}
    table = Table(("", "Candidate", "Production"), rows, note=note)
    return Finding(bool(told), sentence, (table,), figures=figures)
