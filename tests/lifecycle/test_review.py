import pytest

from include.lifecycle.ledger.reviewed import Reviewed
from include.lifecycle.registry.links import base_url, version_url
from include.lifecycle.untrusted_text import markdown, one_line, shorten, storable
from include.lifecycle.views.review import QUICK_WORDS, render_review

from .support import MODEL, approved

TAGS = {
    "validation.metric": "rmspe",
    "validation.value": "0.0949123",
    "validation.threshold": "0.1",
    "validation.time": "2026-03-01T02:40:00+00:00",
    "data.version": "abc123",
    "training.end": "2015-06-19",
    "holdout.start": "2015-05-09",
    "code.commit": "e2f0338",
    "code.dirty": "true",
    "ensemble.weights": '{"xgboost": 0.25, "lightgbm": 0.5, "catboost": 0.25}',
}


def test_the_first_candidate_is_compared_with_nothing(registry, add):
    add(stage="Staging", metrics={"holdout_rmspe": 0.0949123}, **TAGS)
    text = render_review(registry, MODEL, 1)
    assert text.startswith(
        "**demand, version 1** is in Staging. Nothing is in Production yet.\n\nGate: **passed**, rmspe 0.0949"
    )
    assert "| holdout RMSPE | 0.0949 | – | – |" in text
    assert "| Code commit | e2f0338 (with uncommitted changes) | – |" in text
    assert "| Weights | catboost 0.250, lightgbm 0.500, xgboost 0.250 | – |" in text
    assert "MLflow]" not in text, "SQLite has no page to link to"


def test_a_candidate_stands_beside_production(registry, add):
    add(stage="Production", metrics={"holdout_rmspe": 0.0980, "cv_rmspe_mean": 0.11}, **{**TAGS, "data.version": "old"})
    add(stage="Staging", metrics={"holdout_rmspe": 0.0949, "ensemble_gain": 0.004, "rows": 5}, **TAGS)
    text = render_review(registry, MODEL, 2, notes={"Note": "after the refit"})
    assert "Approval puts it in the place of version 1, which is then archived." in text
    assert "| Metric | Candidate | Production (version 1) | Difference |" in text
    assert "| holdout RMSPE | 0.0949 | 0.0980 | -0.0031 |" in text
    assert "| CV RMSPE mean | – | 0.1100 | – |" in text
    assert "| ensemble gain | 0.0040 | – | – |" in text
    assert "rows" not in text
    assert "| Data version | abc123 | old |" in text
    assert "| Note | after the refit | |" in text


def test_after_a_rollback_the_next_candidate_is_compared_with_what_is_live_then(registry, add):
    add(stage="Production", metrics={"holdout_rmspe": 0.0980})
    add(stage="Production", metrics={"holdout_rmspe": 0.0900})
    registry.rollback(MODEL, 1, approved("eve", "2 oversells"))
    add(stage="Staging", metrics={"holdout_rmspe": 0.0949}, **TAGS)
    text = render_review(registry, MODEL, 3)
    assert "Approval puts it in the place of version 1, which is then archived." in text
    assert "| holdout RMSPE | 0.0949 | 0.0980 | -0.0031 |" in text


@pytest.mark.parametrize(("quick", "told"), [("true", True), ("false", False), ("", False), (None, False)])
def test_that_it_is_only_a_try_comes_first(registry, add, quick, told):
    add(stage="Staging", **TAGS, **({} if quick is None else {"retrain.quick": quick}))
    review = Reviewed(model=MODEL, version=1, verdict="pass", headline="Better.")
    for shown in (render_review(registry, MODEL, 1), render_review(registry, MODEL, 1, review=review)):
        assert shown.startswith(f"**{QUICK_WORDS}**\n\n") is told
        assert shown.count(QUICK_WORDS) == told


def test_a_failed_gate_and_missing_facts_are_told(registry, add):
    add(passed=None)
    assert "Gate: not validated." in render_review(registry, MODEL, 1)
    add(passed=False, **{"validation.failed_checks": '["rmspe is nan"]', "ensemble.weights": "no json"})
    text = render_review(registry, MODEL, 2)
    assert "Gate: **failed**, unknown unknown (must stay below unknown), checked unknown; failed: rmspe is nan." in text
    assert "| Weights | no json | – |" in text
    registry.client.delete_run(registry.version(MODEL, 2).run_id)
    assert "Metric" not in render_review(registry, MODEL, 2)


EVIL = (
    "<img src=x onerror=alert(1)> [click](javascript:alert(1)) | **bold** `code`"
    " https://evil.example www.evil.example\n# head"
)


def test_untrusted_text_stays_text(registry, add):
    add(stage="Staging", **{"data.version": EVIL, "code.commit": EVIL, "ensemble.weights": f'{{"{EVIL[:20]}": 1}}'})
    text = render_review(registry, MODEL, 1, notes={EVIL: EVIL})
    for markup in ("<img", "](java", "**bold", "`code", "https://", "www.", "\n# "):
        assert markup not in text
    assert len([line for line in text.splitlines() if line.count("|") not in (0, 4)]) == 0, (
        "the table keeps its columns"
    )


def test_what_markdown_shows_is_what_was_written():
    import html

    assert html.unescape(markdown("a & <b> #1 x_y \\ 2*3 @me &amp;")) == "a & <b> #1 x_y \\ 2*3 @me &amp;"
    assert markdown("plain text, 100 %") == "plain text, 100 %"
    assert one_line("a\n\n b\t c") == "a b c"
    assert shorten("abcdef", 4) == "abc…"
    assert storable("a\r\nb\rc\x00\u202e\ud800é") == "a\nb\nc\ufffd\ufffd\ufffdé"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://user:secret@mlflow:5000/base/", "http://mlflow:5000/base"),
        ("https://mlflow.example", "https://mlflow.example"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("sqlite:///mlflow.db", None),
        ("", None),
        ("databricks", None),
    ],
)
def test_links_carry_no_password(uri, expected):
    assert base_url(uri) == expected
    link = version_url(uri, "a b/c", 7)
    assert link == (f"{expected}/#/models/a%20b%2Fc/versions/7" if expected else None)
