"""What every command line here shares: arguments as people type them, results, and one sentence for each error."""

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from include.lifecycle.errors import BadInputError, GateFailedError, ReportedError
from include.lifecycle.ledger.statements import IN_AIRFLOW_ENV
from include.lifecycle.tracking_address import no_answer
from include.lifecycle.untrusted_text import one_line, storable, without_credentials

log = logging.getLogger("include")

PEOPLE = "For people"


def typed(value: str | None) -> str | None:
    """Return what somebody typed as MLflow and a log can hold it."""
    return storable(value) if value else value


def version_number(text: str) -> int | None:
    """Return the version that a form's field names, None when it was left empty.

    :raises BadInputError: when it is not a number
    """
    if not text.strip():
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,8})(\.0)?", text.strip())  # 7.0 is a whole number to a form
    if not found:
        raise BadInputError(f"the version must be a whole number from 1, found {one_line(text, 40)!r}")
    return int(found[1])


def moment(text: str) -> datetime:
    """Return a time that names its timezone, in UTC.

    :raises BadInputError: when it is none, or names no timezone, or is in no year of UTC's calendar
    """
    try:
        found = datetime.fromisoformat(text)
        # Without a timezone it would be taken as this machine's.
        known = found.astimezone(UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        known = None
    if known is None:
        raise BadInputError(
            f"expected a time with its timezone (Z for UTC, or an offset such as +01:00), e.g. 2026-03-01T05:00Z,"
            f" found {one_line(text, 60)!r}"
        )
    return known


def emit(result: dict[str, Any]) -> None:
    """Print a step's result: one JSON object, the last line of stdout."""
    sys.stdout.write(json.dumps(result, sort_keys=True) + "\n")
    sys.stdout.flush()


def emit_gated(run: Callable[[], dict[str, Any]]) -> None:
    """Print a step's result, also that of a version which did not pass."""
    try:
        emit(run())
    except GateFailedError as error:
        emit(dict(error.result or {}))
        raise


def say(lines: list[str]) -> None:
    """Print lines for a person."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


class Discreet(logging.Formatter):
    """Shows no credentials of URLs, in tracebacks either."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return without_credentials(super().format(record))


def start_logging() -> None:
    """Log to stderr, a line for each entry without credentials, and quieten what is not ours."""
    handler = logging.StreamHandler(sys.stderr)
    # Airflow gives each line a time of its own
    time = "" if os.environ.get(IN_AIRFLOW_ENV) else "%(asctime)s "
    handler.setFormatter(Discreet(f"{time}%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("RETRAIN_LOG_LEVEL", "INFO"), handlers=[handler])
    # MLflow, which the commands import, would log in a form of its own
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # the server's with its password
    for noisy in ("alembic", "urllib3", "mlflow.store", "mlflow.tracking", "git", "dvc", "dvc_objects"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # stages are what the platform's users know; aliases are kept in step
    warnings.filterwarnings("ignore", message=".*Model Registry stages.*", category=FutureWarning)


def run_cli(command: Callable[[], Any]) -> int:
    """Run the command line and return its exit code.

    What we raise ourselves ends as one sentence on stderr; what we did not expect keeps its traceback, and
    the last line is still the sentence that an operator looks for.

    :param command: the typer application, or one like it
    """
    start_logging()
    try:
        command()
    except Exception as error:  # noqa: BLE001 -- the boundary of the process
        told = in_words(error)
        sys.stderr.write(f"error: {without_credentials(storable(str(told)))}\n")
        return told.exit_code
    return 0


def in_words(error: Exception) -> ReportedError:
    """Return an error as what ends as one sentence; one that nobody expected is logged with its traceback."""
    if isinstance(error, ReportedError):
        return error
    if (sentence := no_answer(error)) is not None:
        return ReportedError(sentence)
    log.error("Unexpected failure", exc_info=error)
    return ReportedError(f"{type(error).__name__}: {one_line(without_credentials(str(error)), 2000)}")
