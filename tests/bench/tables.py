"""Markdown tables, and the line through measurements that tells where a limit would be reached."""

import statistics
from collections.abc import Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, with an empty line behind it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def line(points: Mapping[int, float]) -> tuple[float, float] | None:
    """Return start and slope of the line through points, or None where there are fewer than two."""
    if len(points) < 2:
        return None
    slope, start = statistics.linear_regression(list(points), list(points.values()))
    return start, slope


def reached(points: Mapping[int, float], limit: float) -> float | None:
    """Return where the line through points reaches a limit; None where it does not rise."""
    found = line(points)
    if not found or found[1] <= 1e-9:
        return None
    return max((limit - found[0]) / found[1], 0.0)


def print_limits(title: str, unit: str, rows: Iterable[tuple[str, Mapping[int, float], float]]) -> None:
    """Print what each limit allows, the first to be reached first."""
    known = [(reached(points, limit), name, points, limit) for name, points, limit in rows if len(points) > 1]
    if not known:
        return
    known.sort(key=lambda row: (row[0] is None, row[0] or 0.0))
    cells = []
    for at, name, points, limit in known:
        start, slope = line(points) or (0.0, 0.0)
        most = "never" if at is None else f"{at:.0f}" if at < 10_000 else "> 10000"
        cells.append([name, f"{max(points.values()):.1f}", f"{start:.1f}", f"{slope:.2f}", f"{limit:.0f}", most])
    print(f"{title}:\n")
    print(table(["", "most seen", "at 0", f"for each of the {unit}", "limit", f"reached at {unit}"], cells))
    if known[0][0] is not None:
        print(f"First: {known[0][1]}, at about {known[0][0]:.0f} {unit}.\n", flush=True)
