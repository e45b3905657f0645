"""The benches still find what they measure; their figures are nobody's test."""

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCH.glob("[!_]*.py")))
def test_a_bench_can_be_started(name: str) -> None:
    assert importlib.import_module(f"tests.bench.{name}").__doc__
