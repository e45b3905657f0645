"""Errors an operator or a person at the command line reads: one sentence each, with an exit code.

The exit code is part of the step contract: whoever runs a step as a child process (a local process or
a container) learns from it whether running it again may help.
"""

from collections.abc import Mapping
from typing import Any


class ReportedError(RuntimeError):
    """What ends as one sentence. By itself: for a reason that may pass, such as a server that is down. Try again."""

    exit_code = 1


class BadInputError(ReportedError):
    """Bad configuration, argument or data: the same call fails again until somebody changes something."""

    exit_code = 2


class GateFailedError(ReportedError):
    """The candidate did not pass its gate: the model stays where it is, a retrain is required.

    :param result: what the step that found it out would have printed
    """

    exit_code = 3

    def __init__(self, sentence: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence)
        self.result = result


class ModelNotFoundError(BadInputError):
    """The registry has no registered model of that name."""


class VersionNotFoundError(BadInputError):
    """The registered model has no version of that number, or none in that stage."""


class TransitionRefusedError(BadInputError):
    """The life cycle does not know this stage transition, or the evidence it needs is not on the version."""


class PolicyNotMetError(BadInputError):
    """An approval does not meet the policy of its model."""


class ArtifactsChangedError(TransitionRefusedError):
    """A version's artifacts are not those that were registered, or it cannot be told."""


class LedgerDamagedError(BadInputError):
    """A promotion ledger is not what was written to it."""


class LedgerGoneError(BadInputError):
    """A promotion ledger cannot be found any more."""
