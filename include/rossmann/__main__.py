"""``python -m include.rossmann STEP``: the same as ``python -m include.models.rossmann STEP``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("include.models.rossmann", run_name="__main__")
