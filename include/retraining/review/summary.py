"""A review in words: what came out, in a line."""

from include.retraining.review.report import Review, Verdict

WORDS = {Verdict.PASS: "pass", Verdict.WARN: "warning", Verdict.FAIL: "blocks", Verdict.NONE: "not checked"}
"""What a reader is told of one item."""


def shown_verdict(review: Review) -> Verdict:
    """Return the verdict of the whole review, ``none`` where no item could be looked at: that is no pass."""
    if review.verdict is Verdict.PASS and not review.with_verdict(Verdict.PASS):
        return Verdict.NONE
    return review.verdict


def short_result(review: Review) -> str:
    """Return what came out in one or two words, e.g. ``2 warnings``."""
    if review.verdict is Verdict.WARN:
        count = len(review.with_verdict(Verdict.WARN))
        return f"{count} warning{'s' if count > 1 else ''}"
    return {Verdict.FAIL: "Blocked", Verdict.PASS: "Pass", Verdict.NONE: "Nothing checked"}[shown_verdict(review)]


def counts(review: Review) -> str:
    """Return how many items have which verdict, e.g. ``2 warnings, 11 pass, 1 not checked``."""
    words = {Verdict.FAIL: "blocked", Verdict.WARN: "warning", Verdict.PASS: "pass", Verdict.NONE: "not checked"}
    found = {verdict: len(review.with_verdict(verdict)) for verdict in words}
    words[Verdict.WARN] += "s" if found[Verdict.WARN] > 1 else ""
    return ", ".join(f"{found[verdict]} {word}" for verdict, word in words.items() if found[verdict]) or "no checks"


def consequence(review: Review) -> str:
    """Return what becomes of the version in Production."""
    if review.verdict is Verdict.FAIL:
        return "It is held back" + (f": version {review.live} stays in Production." if review.live else ".")
    if review.live is None:
        return "Nothing is in Production yet: an approval puts this version there."
    if review.live == review.version:
        return "It is the version in Production."
    return f"An approval puts it into Production in the place of version {review.live}."
