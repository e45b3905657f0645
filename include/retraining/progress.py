"""Progress of long work in the log: a line every few seconds, never one for each round."""

import logging
import time


class LogProgress:
    """Callable that a long loop reports to.

    :param every: least seconds between two lines; the last one is always written
    """

    def __init__(self, log: logging.Logger, what: str, every: float = 5.0) -> None:
        self.log = log
        self.what = what
        self.every = every
        self.started = time.monotonic()
        self.last = self.started

    def __call__(self, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` are done."""
        now = time.monotonic()
        if done < total and now - self.last < self.every:
            return
        self.last = now
        elapsed = now - self.started
        left = elapsed / done * (total - done) if done else 0.0
        self.log.info("%s: %d of %d, %.0f s, about %.0f s left", self.what, done, total, elapsed, left)
