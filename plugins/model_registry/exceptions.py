"""What the tasks raise. Those derived from ``AirflowFailException`` are not retried: a retry would find the same."""

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.rules.decisions import Decision
from include.lifecycle.untrusted_text import one_line


class StepFailedError(AirflowException):
    """A pipeline step ended with an error that a retry may cure."""


class StepRefusedError(AirflowFailException):
    """A pipeline step ended with bad input or at its gate: somebody has to change something."""


class LifecycleRefusedError(AirflowFailException):
    """The life cycle refuses what a task asked for, such as an unknown version or transition."""


class NotApprovedError(AirflowFailException):
    """A promotion was asked for that nobody approved."""


class DecisionPendingError(AirflowException):
    """A task is marked, and the promotion ledger does not have the decision, which may still come."""


class PolicyRefusedError(NotApprovedError):
    """The approval does not meet the model's policy."""


class PromotionSkippedError(AirflowFailException):
    """A version was approved, and the task that promotes was marked success without running."""


class ApprovalRejectedError(AirflowFailException):
    """Somebody rejected the candidate."""


class ApprovalExpiredError(AirflowFailException):
    """Nobody decided in time."""


class RegistryFailedError(AirflowException):
    """MLflow did not answer, or something there is in the way that may pass."""


def decided_otherwise(model: str, version: int, decision: Decision) -> str:
    """Return the sentence for a version that was decided on before."""
    return (
        f"Version {version} of {model!r} was {decision.outcome} by {one_line(decision.user, 60)} at"
        f" {decision.at:%Y-%m-%d %H:%M} UTC: the first decision holds. Train a new candidate."
    )


@contextmanager
def as_airflow_errors() -> Iterator[None]:
    """Turn errors of the life cycle and of MLflow into those that tell Airflow whether to try again."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except BadInputError as error:
        raise LifecycleRefusedError(str(error)) from error
    except ReportedError as error:
        raise RegistryFailedError(str(error)) from error
    except MlflowException as error:
        said = f"MLflow: {' '.join(str(error).split())[:1000]}"
        if error.error_code == "INVALID_PARAMETER_VALUE":  # such as a name that no model can have
            raise LifecycleRefusedError(said) from error
        raise RegistryFailedError(said) from error
