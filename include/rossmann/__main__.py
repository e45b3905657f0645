"""``python -m include.rossmann STEP``."""

from include.rossmann.cli import main

main()
