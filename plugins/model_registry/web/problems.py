"""What a page says instead of its content, in one sentence."""

import logging
from collections.abc import Callable
from typing import TypeVar

from airflow.sdk.exceptions import AirflowNotFoundException

from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.untrusted_text import one_line

log = logging.getLogger(__name__)

Found = TypeVar("Found")

UNKNOWN_MODEL = (
    "There is no model of this name with a promotion ledger on a server that answers, or you may not see it."
)


class PageError(Exception):
    """What the page says instead of its content: one sentence.

    :param status: HTTP status
    :param sentence: what is wrong and what to do
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def checked(found: Found | PageError) -> Found:
    """Return what was read.

    :raises PageError: what says why it could not be; a new one, as others may wait for the same
    """
    if isinstance(found, PageError):
        raise PageError(found.status, found.sentence)
    return found


def told(read: Callable[[], Found]) -> Found | PageError:
    """Return what ``read`` returns, or the ``PageError`` that says why not."""
    from mlflow.exceptions import MlflowException

    try:
        return read()
    except PageError as error:
        return error
    except AirflowNotFoundException:
        return PageError(503, "The Airflow connection that the configuration names for MLflow is not defined.")
    except BadInputError as error:  # a configuration or a ledger that somebody has to mend
        return PageError(503, one_line(str(error), 500))
    except (MlflowException, ReportedError) as error:
        log.warning("MLflow could not be read for the page of the models: %s", one_line(str(error), 1000))
        if getattr(error, "error_code", None) in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            return PageError(503, "MLflow refuses the user of the Airflow connection: check login and permissions.")
        return PageError(503, "MLflow does not answer: try again later. The API server's log says more.")
    except Exception:
        log.exception("The page of the models could not be made")
        return PageError(500, "The page could not be made: the API server's log says why.")
