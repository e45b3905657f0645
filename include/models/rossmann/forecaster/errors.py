"""Errors of the forecaster."""


class ForecastInputError(ValueError):
    """The input cannot be forecast; the message names the column, store or date."""
