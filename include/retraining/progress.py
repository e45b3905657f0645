"""Progress of long work in the log: a line every few seconds, never one for each round."""

import logging
import time


class LogProgress:
    """Callable that a long loop reports to.

    The time left is told by the pace since the first report: what comes before it is preparation, which may take as
    long as many rounds.

    :param every: least seconds between two lines; the last one is always written
    """

    def __init__(self, log: logging.Logger, what: str, every: float = 5.0) -> None:
        self.log = log
        self.what = what
        self.every = every
        self.started = self.last = time.monotonic()
        self.first: tuple[int, float] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` are done."""
        now = time.monotonic()
        self.first = self.first or (done, now)
        if done < total and now - self.last < self.every:
            return
        self.last = now
        before, since = self.first
        left = f", about {(now - since) / (done - before) * (total - done):.0f} s left" if before < done < total else ""
        self.log.info("%s: %d of %d, %.0f s%s", self.what, done, total, now - self.started, left)
