"""``python -m include.models.churn STEP``."""

from include.models.churn.cli import app
from include.retraining.cli import main

main(app)
