"""What every script that takes pictures is told."""

import argparse
import shutil
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"


def picture_arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows where pictures go, and which browser takes them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=IMAGES)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    return parser
