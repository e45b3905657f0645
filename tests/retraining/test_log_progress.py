import logging
import re

import pytest

from include.retraining import progress
from include.retraining.progress import LogProgress

log = logging.getLogger(__name__)


@pytest.fixture
def lines(monkeypatch, caplog):
    """Report rounds of 500 at given seconds after the start; return what was logged."""

    def report(*rounds: tuple[int, float]) -> list[str]:
        clock = iter([0.0, *(seconds for _, seconds in rounds)])
        monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
        reporter = LogProgress(log, "rounds")
        with caplog.at_level(logging.INFO, logger=__name__):
            for done, _ in rounds:
                reporter(done, 500)
        return [record.getMessage() for record in caplog.records]

    return report


def seconds_left(line: str) -> int | None:
    found = re.search(r"(\d+) s left", line)
    return int(found[1]) if found else None


def test_preparation_is_not_taken_for_the_pace(lines):
    first, second = lines((1, 7.0), (101, 12.0))
    assert seconds_left(first) is None
    assert seconds_left(second) == 20


def test_a_line_every_few_seconds_and_the_last_one_always(lines):
    told = lines((1, 1.0), (100, 4.9), (200, 5.0), (499, 9.9), (500, 9.95))
    assert [re.search(r"\d+ of 500", line)[0] for line in told] == ["200 of 500", "500 of 500"]
    assert seconds_left(told[-1]) is None


def test_the_first_report_may_be_the_last(lines):
    assert len(lines((500, 1.0))) == 1
