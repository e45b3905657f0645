"""Untrusted text through every door of the life cycle comes back as text, or is refused with a sentence."""

import json

import pytest

from include.lifecycle import tags as tag
from include.lifecycle.errors import BadInputError
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.untrusted_text import markdown, one_line, says_something, storable
from include.lifecycle.views.messages import confirm, confirm_decision, describe
from include.lifecycle.views.review import render_review
from tests.hostile import HOSTILE, MARKUP, MEGABYTE

from .support import MODEL, approved, stages


def test_a_text_that_shows_nothing_says_nothing():
    invisible = (
        "",
        " \t",
        "\u3164",
        "\u115f\u1160\uffa0",
        "\u200b\u2060\ufeff",
        "\u2800",
        "\u0301\ufe0f",
        "\ufffd",
        "!?",
    )
    assert [text for text in invisible if says_something(text)] == []
    assert [text for text in ("ok", "7", "\u3164x", "ü", "良い", "\u0661") if not says_something(text)] == []


TEXTS = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())


def assert_plain(shown: str) -> None:
    """Markdown that is shown holds no markup of the attacker's."""
    for markup in MARKUP:
        assert markup not in shown
    assert "\x1b" not in shown


def assert_one_line(line: str) -> None:
    assert "\n" not in line
    assert "\x1b" not in line
    assert "\x00" not in line


@TEXTS
def test_user_and_reason_of_a_promotion(registry, add, text):
    version = add(stage="Staging")
    done = registry.promote(MODEL, version, approved(user=text, reason=text, run_id=text))
    event = registry.history(MODEL)[-1]
    assert (event.user, event.reason, event.run_id) == (storable(text), storable(text), storable(text))
    info = registry.version(MODEL, version)
    assert info.tags["decision.reason"] == storable(text)
    assert_plain(info.description)
    for line in (*confirm(done), describe(event), *confirm(registry.promote(MODEL, version, approved()))):
        assert_one_line(line)
    assert registry.verify(MODEL) == []
    assert stages(registry) == {version: "Production"}


@TEXTS
def test_a_rejection_and_a_rollback(registry, add, text):
    for _ in range(2):
        add(stage="Production")
    version = add(stage="Staging")
    rejected = Decision(Outcome.REJECTED, text, text, text, Channel.CLI)
    holds = registry.reject(MODEL, version, rejected)
    for line in confirm_decision(version, approved(), holds):
        assert_one_line(line)
    with pytest.raises(BadInputError) as raised:
        registry.promote(MODEL, version, approved())
    assert_one_line(str(raised.value))
    registry.rollback(MODEL, 1, approved(user=text, reason=text))
    assert registry.version(MODEL, 2).tags[tag.ROLLED_BACK].endswith(storable(text))
    assert_plain(registry.version(MODEL, 1).description)
    assert Decision.from_tags(registry.version(MODEL, 3).tags).reason == storable(text)


@TEXTS
def test_a_decision_survives_json_tags_and_ledger(registry, add, text):
    decision = approved(user=text, reason=text, roles=(text,))
    kept = json.dumps(decision.to_dict())
    kept.encode()
    assert Decision.from_dict(json.loads(kept)) == decision
    assert json.loads(kept)["reason"] == storable(text)
    assert storable(storable(text)) == storable(text)


@TEXTS
def test_tags_that_somebody_edited_in_the_review(registry, add, text):
    text = storable(text)  # MLflow's own API takes no others
    keys = (tag.DATA_VERSION, tag.CODE_COMMIT, tag.TRAINING_END, tag.VALIDATION_METRIC, tag.VALIDATION_VALUE,
            tag.VALIDATION_FAILED_CHECKS, tag.ENSEMBLE_WEIGHTS, tag.AIRFLOW_RUN_ID, tag.VALIDATION_TIME)  # fmt: skip
    add(stage="Production", **dict.fromkeys(keys, text))
    add(passed=None, **{**dict.fromkeys(keys, text), tag.VALIDATION_OUTCOME: text})
    review = render_review(registry, MODEL, 2, notes={text: text})
    assert_plain(review)
    # a cell holds no line end and no bar, so the tables keep their columns
    assert {line.count("|") for line in review.splitlines()} <= {0, 4}


@TEXTS
def test_names_of_models_and_stages(registry, text):
    for call in (registry.versions, registry.reconcile, registry.candidate, registry.history):
        with pytest.raises(Exception) as raised:
            call(storable(text) + "?")
        assert type(raised.value).__module__.startswith(("include.lifecycle", "mlflow"))
    with pytest.raises(BadInputError, match="Unknown stage"):
        registry.resolve(MODEL, text)


@pytest.mark.parametrize("field", ["reason", "user", "run_id"])
def test_a_megabyte_is_refused_with_a_sentence_before_anything_moves(registry, add, field):
    add(stage="Production")
    version = add(stage="Staging")
    decision = approved(**{field: MEGABYTE})
    for call in (registry.promote, registry.record_decision):
        with pytest.raises(BadInputError, match=r"characters") as raised:
            call(MODEL, version, decision)
        assert len(str(raised.value)) < 300
    with pytest.raises(BadInputError, match="characters"):
        registry.reject(MODEL, version, Decision(Outcome.REJECTED, **{"reason": "no", field: MEGABYTE}))
    assert stages(registry) == {1: "Production", 2: "Staging"}
    assert registry.ledger(MODEL).read().holder is None


def test_a_megabyte_that_is_shown_is_cut(registry, add):
    add(**{tag.DATA_VERSION: MEGABYTE[:90_000]})
    assert len(render_review(registry, MODEL, 1, notes={"Note": MEGABYTE})) < 20_000
    assert len(markdown(MEGABYTE)) < 10_000
    assert len(one_line(MEGABYTE)) <= 300


@TEXTS
def test_what_is_stored_and_shown_is_the_text_itself(text):
    import html

    assert html.unescape(markdown(text, 10_000)) == " ".join(storable(text).split())


def test_no_password_of_the_tracking_uri_is_told(monkeypatch: pytest.MonkeyPatch):
    registry = ModelRegistry(tracking_uri="http://bot:s3cr3t-pw@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert registry.version_url(MODEL, 1) == f"http://127.0.0.1:9/#/models/{MODEL}/versions/1"
