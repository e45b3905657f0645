"""The requirement files and the lock agree."""

from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
NAMED = {
    "apache-airflow", "apache-airflow-providers-docker", "mlflow", "lightgbm", "xgboost", "catboost", "pandas", "dvc",
    "pytest",
}  # fmt: skip


def read(path: str) -> dict[str, Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return {r.name.lower().replace("_", "-"): r for r in (Requirement(line) for line in lines if line)}


def test_everything_is_pinned() -> None:
    requirements = read("requirements.txt")
    assert set(requirements) >= NAMED
    assert [name for name, item in requirements.items() if not item.specifier] == []


def test_the_lock_fulfils_the_requirements() -> None:
    locked = read("constraints.txt")
    for name, item in read("requirements.txt").items():
        pin = next(iter(locked[name].specifier))
        assert pin.operator == "=="
        assert item.specifier.contains(pin.version), name


def test_what_the_images_hold_is_locked() -> None:
    locked = read("constraints.txt")
    for file in ("airflow", "mlflow"):
        named = read(f"deploy/requirements-{file}.txt")
        assert named
        assert set(named) <= set(locked), file


def test_the_machine_learning_side_is_a_part_without_airflow() -> None:
    everything, part = read("requirements.txt"), read("include/requirements.txt")
    assert {name: str(item) for name, item in part.items()} == {name: str(everything[name]) for name in part}
    assert not [name for name in part if "airflow" in name]
