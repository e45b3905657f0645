"""What counts as live: only what consumers got, whoever asked for it, and for good."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow.entities import Run, RunData, RunInfo, RunTag

from include.models.churn.config import NAME, ChurnConfig
from include.retraining.predict.live import AT_TAG, USE_TAG, use_of, use_tags, used_since
from include.retraining.predict.publish import LATEST
from include.retraining.predict.request import PredictionRequest

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
CONFIG = ChurnConfig.of(NAME)


def run(**tags: str) -> Run:
    info = RunInfo("r", "0", "ana", "FINISHED", int(NOON.timestamp() * 1000), None, "active")
    return Run(info, RunData(tags=[RunTag(name.replace("__", "."), value) for name, value in tags.items()]))


def use(request: PredictionRequest, pointer: str | None = None, **before: str) -> str | None:
    return use_tags(before, request, CONFIG, pointer=pointer, now=NOON).get(USE_TAG)


def test_what_the_pointer_to_the_newest_names_is_published() -> None:
    tags = use_tags({}, PredictionRequest(publish=True), CONFIG, pointer=LATEST, now=NOON.astimezone(UTC))
    assert tags == {USE_TAG: "published", AT_TAG: "2026-11-26T12:00:00+00:00"}
    found = run(**{name.replace(".", "__"): value for name, value in tags.items()})
    assert use_of(found) == "published"
    assert used_since(found) == NOON


@pytest.mark.parametrize(
    ("request_", "pointer", "expected"),
    [
        (PredictionRequest(output="x.csv"), None, "beside"),
        (PredictionRequest(publish=True, version=7), None, "beside"),
        (PredictionRequest(publish=True, stage="Staging"), "latest-staging.json", "beside"),
        (PredictionRequest(publish=True, output_name="x.csv"), None, "beside"),
        (PredictionRequest(publish=True), None, "beside"),  # an old night, run again: the pointer names a newer one
        (PredictionRequest(publish=True, revision=CONFIG.data.revision), LATEST, "published"),
        (PredictionRequest(publish=True, revision="v1"), None, "aside"),
        (PredictionRequest(publish=True, input_name="x.csv"), None, "aside"),
        (PredictionRequest(output="x.csv", input_file=Path("x.csv")), None, "aside"),
    ],
)
def test_what_consumers_did_not_get_is_not_published(
    request_: PredictionRequest, pointer: str | None, expected: str
) -> None:
    assert use(request_, pointer) == expected


def test_what_was_published_stays_so() -> None:
    """Its night is run again after a newer one: the pointer stays, and so does what consumers had."""
    again, later = PredictionRequest(publish=True), NOON + timedelta(days=3)
    assert use_tags({USE_TAG: "published", AT_TAG: "x"}, again, CONFIG, pointer=None, now=later) == {}
    assert use_tags({USE_TAG: "published", AT_TAG: "x"}, again, CONFIG, pointer=LATEST, now=later) == {}
    # while a first try that did not get so far says nothing yet
    assert use(again, LATEST, **{USE_TAG: "beside"}) == "published"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, "aside"),
        ({"prediction__use": "else"}, "aside"),
        ({"prediction__use": "beside", "latest": "true", "model__stage": "Production"}, "beside"),
        ({"latest": "true", "model__stage": "Production"}, "published"),
        ({"latest": "true", "model__stage": "Staging"}, "aside"),
        ({"latest": "false", "model__stage": "Production"}, "aside"),
    ],
)
def test_a_run_that_does_not_say_it_is_live_only_where_that_is_sure(tags: dict[str, str], expected: str) -> None:
    assert use_of(run(**tags)) == expected
    assert used_since(run(**tags)) == NOON


@pytest.mark.parametrize("text", ["", "x", "2026-13-01", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00+99:99"])
def test_a_time_that_somebody_wrote_over_is_not_believed(text: str) -> None:
    assert used_since(run(**{AT_TAG.replace(".", "__"): text})) == NOON
