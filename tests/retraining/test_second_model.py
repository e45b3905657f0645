"""A model without time, whose metric is better the higher it is: its predictions as files, and what became of them."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.errors import BadInputError
from include.retraining.config.monitor import BiasConfig, ErrorConfig, MonitorConfig
from include.retraining.files import destination
from include.retraining.monitor.rows import MADE, PREDICTION, PUBLISHED_ON, Publication, join_actuals, live_rows
from include.retraining.monitor.scores import METRIC, compute_scores
from include.retraining.monitor.watch import Known, watch
from include.retraining.output_names import Format, format_of
from include.retraining.predict.formats import ORIGIN, RUN, STAGE, VERSION, Facts, render, sha256, stamped
from include.retraining.predict.places import Place, open_place
from include.retraining.predict.publish import LATEST, as_description, publish
from include.retraining.predict.publish import Publication as Published
from include.retraining.predict.retention import remove_old
from tests.retraining.classifier import FEATURES, MODEL, auc, customers, save

NAME, SHARE = "churn", "Share"
NIGHT = datetime(2026, 11, 26, 4, tzinfo=UTC)
FORMATS: tuple[Format, ...] = ("parquet", "csv", "csv.gz")
KEYS = list(MODEL.columns.keys)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return open_place(str(tmp_path / "place"))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Customers, and which of them left in the end."""
    return customers(1000, seed=4)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A version that looks at everything, and one that only knows the age, which tells nothing."""
    folder = tmp_path_factory.mktemp("churn")
    return {1: save(folder / "1", customers()), 2: save(folder / "2", customers(), features=["Age"])}


def predicted(folder: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a version says of customers of whom nothing is known yet."""
    asked = rows[[*KEYS, *FEATURES]]
    return asked[KEYS].assign(**{SHARE: MODEL.load(folder).served.predict(asked, asked.iloc[:0])})


def published(place: Place, folder: Path, rows: pd.DataFrame, version: int, days: int = 0) -> dict[str, str]:
    """Publish what a version predicts in a night; return the names of the files."""
    moment = NIGHT + timedelta(days=days)
    facts = Facts(NAME, version, "Production", None, f"night {days}")
    table = stamped(predicted(folder, rows), facts)
    files = {kind: render(table, kind, facts) for kind in FORMATS}
    outputs, latest = publish(place, Published(facts, str(moment.date()), moment, files), pointer=LATEST)
    assert latest
    return {kind: item.name for kind, item in outputs.items()}


def read(place: Place, name: str) -> pd.DataFrame:
    """Return a published file as its reader has it."""
    data = place.read(name)
    assert data is not None
    if name.endswith(".parquet"):
        return pd.read_parquet(io.BytesIO(data))
    return pd.read_csv(io.BytesIO(data), compression="gzip" if name.endswith(".gz") else None)


def stored(place: Place, *names: str) -> pd.DataFrame:
    """Return published predictions as the monitoring takes them, with the time of their run."""
    frames = []
    for name in names:
        said = as_description(place.read(f"{name.removesuffix(format_of(name))}json"))
        assert said is not None
        made = pd.Timestamp(said["run_after"]).tz_localize(None)
        told = {MADE: made, PUBLISHED_ON: pd.Timestamp(said["night"])}
        frames.append(read(place, name).rename(columns={SHARE: PREDICTION}).assign(**told))
    return pd.concat(frames, ignore_index=True)


def test_every_format_gives_back_what_the_version_predicted(
    place: Place, versions: dict[int, Path], rows: pd.DataFrame
) -> None:
    names = published(place, versions[1], rows, 1)
    pointer = as_description(place.read(f"{NAME}/{LATEST}"))
    assert pointer is not None
    assert (pointer["version"], pointer["forecast_origin"]) == (1, None)
    expected = predicted(versions[1], rows)
    for kind in FORMATS:
        file = pointer["files"][kind]
        assert f"{NAME}/{file['name']}" == names[kind]
        assert sha256(place.read(names[kind]) or b"") == file["sha256"]
        table = read(place, names[kind])
        assert list(table) == [*KEYS, SHARE, VERSION, STAGE, ORIGIN, RUN]
        # a share is no amount of money: every digit of it is kept
        pd.testing.assert_frame_equal(table[[*KEYS, SHARE]], expected, check_exact=True)
        assert table[ORIGIN].isna().all()
        assert set(zip(table[VERSION], table[STAGE], table[RUN], strict=True)) == {(1, "Production", "night 0")}
    schema = pq.read_schema(pa.BufferReader(place.read(names["parquet"])))
    assert schema.field(ORIGIN).type == pa.date32(), "the same type as where there are days"
    assert schema.metadata[b"forecast.origin"] == b""


def test_the_same_predictions_are_the_same_bytes(place: Place, versions: dict[int, Path], rows: pd.DataFrame) -> None:
    names = published(place, versions[1], rows, 1)
    before = {kind: place.read(name) for kind, name in names.items()}
    assert published(place, versions[1], rows, 1) == names
    assert {kind: place.read(name) for kind, name in names.items()} == before
    for version, asked in ((2, rows), (1, rows.head(10))):
        assert not set(published(place, versions[version], asked, version).values()) & set(names.values())


def test_a_file_of_ones_own_and_old_nights(
    place: Place, versions: dict[int, Path], rows: pd.DataFrame, tmp_path: Path
) -> None:
    facts = Facts(NAME, 1, "Production", None, "by hand")
    table = stamped(predicted(versions[1], rows), facts)
    destination.write(tmp_path / "own.csv", render(table, "csv", facts))
    assert pd.read_csv(tmp_path / "own.csv")[SHARE].tolist() == table[SHARE].tolist()
    with pytest.raises(BadInputError):
        destination.write(tmp_path, b"")
    published(place, versions[1], rows, 1)
    newest = published(place, versions[1], rows, 1, days=9)
    assert {name.split("/")[1] for name in remove_old(place, NAME, days=1)} == {"2026-11-26"}
    assert len(read(place, newest["csv"])) == len(rows)


def test_what_was_stored_is_scored_once_it_came_true(
    place: Place, versions: dict[int, Path], rows: pd.DataFrame
) -> None:
    """The next night another version predicts the same customers: those are its own from then on."""
    first = published(place, versions[1], rows, 1)
    night = pd.Timestamp(NIGHT.date())
    live = [Publication(1, night)]
    for kind in FORMATS:
        found = compute_scores(stored(place, first[kind]), rows, live, MODEL, validation={1: 0.9}).days.iloc[0]
        share = predicted(versions[1], rows)[SHARE].to_numpy()
        assert found[METRIC] == pytest.approx(auc(rows["Left"].to_numpy(), share))
        assert found["rows"] == len(rows)
    second = published(place, versions[2], rows.head(600), 2, days=1)
    live.append(Publication(2, night + pd.Timedelta(days=1)))
    both = stored(place, first["csv"], second["parquet"], first["parquet"], second["csv.gz"])
    once = live_rows(join_actuals(both, rows, MODEL.columns), rows, MODEL.columns, live)
    assert not once.duplicated(KEYS).any()
    assert once.groupby(VERSION).size().to_dict() == {1: 400, 2: 600}
    assert once[PREDICTION].notna().all()


def test_the_monitoring_notices_a_version_that_tells_nothing(
    place: Place, versions: dict[int, Path], rows: pd.DataFrame
) -> None:
    config = MonitorConfig(error=ErrorConfig(worse_by=0.1), bias=BiasConfig(limit=0.2, slice_limit=0.2))
    night = pd.Timestamp(NIGHT.date())
    for version, worse in ((1, False), (2, True)):
        names = published(place, versions[version], rows, version, days=version)
        known = Known([Publication(version, night)], {version: 0.9}, None)
        signals = watch(stored(place, names["csv"]), rows, known, MODEL, config, today=night + pd.Timedelta(days=9))
        raised = {signal.key for signal in signals if signal.bad}
        assert ("error" in raised) is worse, raised
        # who left of those who were not predicted may have left before
        few = watch(stored(place, names["csv"]).head(500), rows, known, MODEL, config, today=night)
        assert not [signal for signal in few if signal.kind == "missing"]
