from pathlib import Path

import pytest
from stack_double import Double


@pytest.fixture
def double(tmp_path: Path) -> Double:
    """A stack that runs, of doubles."""
    return Double(tmp_path)
