"""``python -m include.models.rossmann STEP``."""

import os

# Blocks are computed side by side: more threads in each product of matrices only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from include.models.rossmann.cli import app
from include.retraining.cli import main

main(app)
