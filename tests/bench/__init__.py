"""Benches: what something takes, and how far it goes; nobody's test."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the steps have it
