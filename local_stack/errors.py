"""What can go wrong with the local stack, as sentences for the person in front of it."""


class StackError(RuntimeError):
    """The local stack cannot go on; the message says why and what to do."""


class PortTakenError(StackError):
    """A port that a server needs is in use."""


class ProcessEndedError(StackError):
    """A server ended although nobody stopped it."""


class RunFailedError(StackError):
    """The retrain did not end in Production."""


class ApiError(StackError):
    """Airflow's REST API refused a request.

    :param status: the HTTP status, 0 when no answer came
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
