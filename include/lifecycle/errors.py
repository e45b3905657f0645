"""Errors an operator or a person at the command line reads: one sentence each, with an exit code.

The exit code is part of the step contract: whoever runs a step as a child process (a local process or
a container) learns from it whether running it again may help.
"""


class RetrainError(RuntimeError):
    """A step failed for a reason that may pass (a server that is down, a lock that is held): retry."""

    exit_code = 1


class BadInputError(RetrainError):
    """Bad configuration, argument or data: the same call fails again until somebody changes something."""

    exit_code = 2


class GateFailedError(RetrainError):
    """The candidate did not pass its gate: the model stays where it is, a retrain is required."""

    exit_code = 3


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
