"""``python -m include.rossmann STEP``: the same as ``python -m include.models.rossmann STEP``."""

from include.models.rossmann import __main__  # noqa: F401
