"""``python -m include.rossmann STEP``: the same as ``python -m include.models.rossmann STEP``."""

from include.models.rossmann.__main__ import app, main

if __name__ == "__main__":
    main(app)
