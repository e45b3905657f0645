"""``python -m include.models.rossmann STEP``."""

import os

# Blocks are computed side by side: more threads in each product of matrices only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from include.models.rossmann.cli import app
from include.retraining.cli import main

if __name__ == "__main__":  # a process that trains beside others reads this file too
    main(app)
