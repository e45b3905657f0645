"""A review in words: what came out, in a line."""

from include.retraining.review.report import Item, Review, Verdict

WORDS = {Verdict.PASS: "pass", Verdict.WARN: "warning", Verdict.FAIL: "blocks", Verdict.NONE: "not checked"}
"""What a reader is told of one item."""
MARKS = {Verdict.PASS: "✓", Verdict.WARN: "⚠", Verdict.FAIL: "✗", Verdict.NONE: "–"}


def shown_verdict(review: Review) -> Verdict:
    """Return the verdict of the whole review, ``none`` where no item could be looked at: that is no pass."""
    if review.verdict is Verdict.PASS and not review.with_verdict(Verdict.PASS):
        return Verdict.NONE
    return review.verdict


def short_result(review: Review) -> str:
    """Return what came out in one or two words, e.g. ``2 warnings``."""
    if review.verdict is Verdict.WARN:
        return _warnings(len(review.with_verdict(Verdict.WARN)))
    return {Verdict.FAIL: "Blocked", Verdict.PASS: "Pass", Verdict.NONE: "Nothing checked"}[shown_verdict(review)]


def result_line(review: Review) -> str:
    """Return what came out with the keys of the items that a reader looks at first, as plain text."""
    fails, warns, unchecked = (review.with_verdict(v) for v in (Verdict.FAIL, Verdict.WARN, Verdict.NONE))
    parts = [f"Blocked: {_keys(fails)}"] if fails else []
    parts += [f"{_warnings(len(warns))}: {_keys(warns)}"] if warns else []
    if not parts:
        passed = len(review.with_verdict(Verdict.PASS))
        parts = [f"No warnings, {passed} of {len(review.items)} checks pass" if passed else "Nothing was checked"]
    if unchecked:
        parts.append(f"not checked: {_keys(unchecked)}")
    return "; ".join(parts)


def counts(review: Review) -> str:
    """Return how many items have which verdict, e.g. ``11 pass, 2 warnings, 1 not checked``."""
    found = {verdict: len(review.with_verdict(verdict)) for verdict in Verdict}
    told = [
        f"{found[Verdict.FAIL]} blocked" if found[Verdict.FAIL] else "",
        _warnings(found[Verdict.WARN]) if found[Verdict.WARN] else "",
        f"{found[Verdict.PASS]} pass" if found[Verdict.PASS] else "",
        f"{found[Verdict.NONE]} not checked" if found[Verdict.NONE] else "",
    ]
    return ", ".join(part for part in told if part) or "no checks"


def consequence(review: Review) -> str:
    """Return what becomes of the version in Production."""
    if review.verdict is Verdict.FAIL:
        return "It is held back" + (f": version {review.live} stays in Production." if review.live else ".")
    if review.live is None:
        return "Nothing is in Production yet: an approval puts this version there."
    if review.live == review.version:
        return "It is the version in Production."
    return f"An approval puts it into Production in the place of version {review.live}."


def _warnings(count: int) -> str:
    return "1 warning" if count == 1 else f"{count} warnings"


def _keys(items: list[Item]) -> str:
    return ", ".join(item.key for item in items)
