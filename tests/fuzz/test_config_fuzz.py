"""Any configuration ends as one that is valid, or as one sentence: text that is hardly YAML, and odd structures."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.config.files import SHIPPED
from include.lifecycle.config.load import load_lifecycle_config, load_section
from include.lifecycle.errors import BadInputError
from include.models.rossmann.config import load_config
from include.retraining.config.monitor import MonitorConfig
from include.retraining.config.prediction import PredictionConfig
from include.retraining.config.review import ReviewConfig
from tests.fuzz.corpus import assert_one_sentence, files, keep

TEXT = (SHIPPED / "rossmann.yaml").read_text(encoding="utf-8")
SHIPPED: dict[str, Any] = yaml.safe_load(TEXT)
FILLED: dict[str, Any] = load_config().model_dump(mode="json")
LOADERS: dict[str, Callable[[Path], object]] = {
    "all": load_config,
    "lifecycle": lambda path: load_lifecycle_config("rossmann", path),
    "prediction": lambda path: load_section(PredictionConfig, "prediction", "rossmann", path),
    "monitor": lambda path: load_section(MonitorConfig, "monitor", "rossmann", path),
    "review": lambda path: load_section(ReviewConfig, "review", "rossmann", path),
}
WORDS = [
    "", " ", "~", "null", "yes", "no", "on", "1", "0", "-1", "1e400", ".inf", "-.inf", ".nan", "0x10", "0o7",
    "1_000", "9" * 400, "12:30", "18:00",
    "2015-06-19", "2015-06-19T00:00:00Z", "2015-99-99", "0 2 * * *", "@daily", "@never", "60 24 31 2 *",
    "* * * * * *", "*/0 * * * *", "0 2 * * 1-0",
    "Europe/Berlin", "../etc/passwd", "/", "a\x00b", "Europe/\x00", "user:", "role:x", "user: x", "user:\n",
    "https://u:p@h/x", "s3://[::1", "://@",
    "4g", "-4g", "4", "g", "{{ x }}", "%s{0}", "☃", "\u202e", "\ufeff", "monday", "Production", "data/train.csv",
    "x" * 3000,
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 200), st.floats(), st.sampled_from(WORDS),
    st.text(max_size=10),
    st.dates(), st.datetimes(), st.binary(max_size=4),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.one_of(st.sampled_from(WORDS), st.integers(), st.none(), st.text(max_size=5)), inner, max_size=3
        )
    ),
    max_leaves=8,
)
PIECES = st.one_of(
    st.sampled_from(
        [": ", "- ", "\n", "  ", "{", "}", "[", "]", ",", "&a ", "*a", "<<: *a\n", "<<: ",
         "!!python/object:os.system x", "!!binary x", "!!set {a}",
         "!!timestamp x", "!!int x", "!!float x", "!!map [a]", "!!str {}", "!!omap [a: 1]", "!!pairs [a: 1]",
         "!!null x", "!!bool x", "!x ", "? ", "| ", "|9\n", ">-\n",
         "---\n", "...\n", "%YAML 9.9\n", "%TAG ! x\n", "# x\n", "'", '"', "\\", "\t", "\r", "\x00", "\x85",
         "\u2028", "\ufeff", "=", "a: a\n", "lifecycle:\n",
         "data:\n", "boosters: {xgboost: {rounds: 1}}\n", "model: m\n"]
    ),
    st.sampled_from(WORDS),
    st.text(max_size=6),
)  # fmt: skip


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "config.yaml"


def holds(file: Path, content: bytes) -> None:
    """Check that each reader of a configuration takes it or refuses it with one sentence that names it."""
    file.write_bytes(content)
    try:
        for load in LOADERS.values():
            try:
                load(file)
            except BadInputError as error:
                assert_one_sentence(error, str(file))
    except Exception:
        keep("config", ".yaml", content)
        raise


def places(content: object) -> list[tuple[Any, Any]]:
    """Every mapping or list inside, with each of its keys."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    found = [(content, key) for key, _ in entries]
    return found + [place for _, value in entries for place in places(value)]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A right configuration, not all of it, in which a few values or names are others, gone or put in."""
    content: dict[str, Any] = copy.deepcopy(draw(st.sampled_from([SHIPPED, FILLED])))
    kept = draw(st.sampled_from(sorted(content)))
    content = {name: content[name] for name in ("lifecycle", "boosters", kept) if name in content}
    for _ in range(draw(st.integers(1, 4))):
        place, key = draw(st.sampled_from(places(content) or [(content, "lifecycle")]))
        what = draw(st.sampled_from(["value", "value", "value", "drop", "add", "name"]))
        if what == "drop":
            place.pop(key, None) if isinstance(place, dict) else place.pop()
        elif what == "add" and isinstance(place, dict):
            place[draw(st.one_of(st.sampled_from(WORDS), st.integers(), st.text(max_size=5)))] = draw(VALUES)
        elif what == "name" and isinstance(place, dict):
            place[draw(st.sampled_from(sorted(map(str, place))))] = place.get(key)
        else:
            place[key] = draw(VALUES)
    try:
        return yaml.dump(
            content, allow_unicode=draw(st.booleans()), sort_keys=False, default_flow_style=draw(st.booleans())
        ).encode()
    except (yaml.YAMLError, UnicodeEncodeError):
        return b"not to be written"


@st.composite
def cut_up(draw: st.DrawFn) -> bytes:
    """The shipped text, of which a part is other text."""
    lines = TEXT.splitlines(keepends=True)
    start = draw(st.integers(0, len(lines) - 1))
    lines = lines[start : start + draw(st.integers(1, 25))]
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.integers(0, len(lines) - 1))
        column = draw(st.integers(0, len(lines[row])))
        rest = lines[row][column + draw(st.integers(0, 12)) :]
        lines[row] = lines[row][:column] + draw(PIECES) + rest
    return "".join(lines).encode("utf-8", errors="replace")


@given(
    content=st.one_of(
        st.binary(max_size=60), st.lists(PIECES, max_size=12).map(lambda parts: "".join(parts).encode(errors="replace"))
    )
)
def test_any_text(file: Path, content: bytes) -> None:
    holds(file, content)


@given(content=cut_up())
def test_the_shipped_text_with_other_text_in_it(file: Path, content: bytes) -> None:
    holds(file, content)


@given(content=spoilt())
def test_odd_values_and_names(file: Path, content: bytes) -> None:
    holds(file, content)


@given(content=st.dictionaries(st.sampled_from(sorted(FILLED)), VALUES))
def test_sections_of_any_shape(file: Path, content: dict[str, Any]) -> None:
    holds(file, yaml.dump(content, allow_unicode=True).encode(errors="replace"))


@pytest.mark.parametrize("path", files("config"), ids=lambda path: path.name)
def test_what_was_once_found(file: Path, path: Path) -> None:
    holds(file, path.read_bytes())
