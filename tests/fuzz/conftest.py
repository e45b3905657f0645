"""How much is tried: a little beside the other tests, the same each time; `make fuzz` tries EXAMPLES of each kind."""

import os

from hypothesis import HealthCheck, settings

_ALL = list(HealthCheck)
settings.register_profile(
    "unit", max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=_ALL
)
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES") or 25),
    database=None,  # what was found is kept as files (see corpus.py)
    deadline=None,
    print_blob=True,
    suppress_health_check=_ALL,
)
settings.load_profile("fuzz" if os.environ.get("FUZZ_EXAMPLES") else "unit")
