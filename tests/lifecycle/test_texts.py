"""Reasons that are longer than an entry of the ledger holds."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle.errors import BadInputError, LedgerDamagedError, ReportedError
from include.lifecycle.ledger.entries import MAX_VALUE
from include.lifecycle.ledger.events import MAX_INLINE, MAX_REASON
from include.lifecycle.moves.model_registry import ModelRegistry
from include.lifecycle.rules.decisions import Channel, Decision, Outcome
from include.lifecycle.untrusted_text import text_digest

from .support import MODEL, approved, stages

LONG = '日本 "quoted" \\ é 🎉\n' * 400


def artifact(registry: ModelRegistry, digest: str) -> Path:
    run = registry.client.get_run(registry.ledger(MODEL).read().ledger_id)
    return Path(urlparse(run.info.artifact_uri).path) / "reasons" / f"{digest}.txt"


def test_a_long_reason_is_an_artifact_named_by_its_digest(registry, add):
    done = registry.promote(MODEL, add(stage="Staging"), approved(reason=LONG))
    assert done.event.reason_digest == text_digest(LONG)
    assert done.event.reason == LONG[:499] + "…"
    assert artifact(registry, text_digest(LONG)).read_text() == LONG
    assert registry.history(MODEL)[-1].reason == LONG[:499] + "…"
    assert registry.history(MODEL, whole=True)[-1].reason == LONG
    assert registry.verify(MODEL) == []
    assert max(len(entry.raw) for entry in registry.ledger(MODEL).read().entries) < MAX_VALUE


@pytest.mark.parametrize(
    ("reason", "inline"),
    [("x" * MAX_INLINE, True), ("x" * (MAX_INLINE + 1), False), ('"' * MAX_INLINE, False), ("x" * MAX_REASON, False)],
)
def test_what_an_entry_holds_and_what_it_does_not(registry, add, reason, inline):
    done = registry.promote(MODEL, add(stage="Staging"), approved(reason=reason))
    assert (done.event.reason_digest is None) is inline
    assert registry.history(MODEL, whole=True)[-1].reason == reason
    assert registry.version(MODEL, 1).tags["decision.reason"] == reason


def test_a_reason_beyond_is_refused_with_a_sentence_and_nothing_is_kept(registry, add):
    add(stage="Staging")
    for call in (registry.promote, registry.reject):
        outcome = Outcome.APPROVED if call == registry.promote else Outcome.REJECTED
        with pytest.raises(BadInputError, match=r"100001 .* 100000"):
            call(MODEL, 1, Decision(outcome, "ana", "test", "x" * (MAX_REASON + 1), Channel.CLI))
    assert stages(registry) == {1: "Staging"}
    assert not artifact(registry, "x").parent.exists()


def test_a_retried_rejection_with_a_long_reason_is_one_event(registry, add):
    add(stage="Staging")
    rejection = Decision(Outcome.REJECTED, "bob", "test", LONG, Channel.CLI)
    assert registry.reject(MODEL, 1, rejection).reason == LONG
    assert registry.reject(MODEL, 1, rejection).reason == LONG
    found = [event for event in registry.history(MODEL, whole=True) if event.outcome is Outcome.REJECTED]
    assert [event.reason for event in found] == [LONG]
    assert registry.verify(MODEL) == []


def test_a_changed_or_missing_text_is_found(registry, add, caplog):
    registry.promote(MODEL, add(stage="Staging"), approved(reason=LONG))
    digest = text_digest(LONG)
    file, texts = artifact(registry, digest), registry.ledger(MODEL).texts
    for spoilt in (LONG.replace("quoted", "forged").encode(), b"\xff\xfe", b""):
        file.write_bytes(spoilt)
        assert registry.verify(MODEL) == [f"entry 4: the file reasons/{digest}.txt of run {texts.run_id} was changed"]
        with pytest.raises(LedgerDamagedError, match="was changed"):
            texts.read(digest)
    file.unlink()
    assert "cannot be read" in registry.verify(MODEL)[0]
    assert registry.history(MODEL, whole=True)[-1].reason == LONG[:499] + "…", "the listing goes on"
    assert "cannot be read" in caplog.text


class NoStore:
    """A client whose artifact store takes nothing."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def log_text(self, *args: Any) -> None:
        raise MlflowException("no space left")


def test_a_text_that_is_not_kept_moves_nothing(registry, add):
    add(stage="Staging")
    full = ModelRegistry(NoStore(registry.client))  # type: ignore[arg-type]
    with pytest.raises(ReportedError, match=f"{len(LONG)} characters: no space left"):
        full.promote(MODEL, 1, approved(reason=LONG))
    assert stages(registry) == {1: "Staging"}
    assert registry.ledger(MODEL).read().holder is None
    assert registry.promote(MODEL, 1, approved(reason=LONG)).changed


def test_an_entry_without_the_newer_fields_is_read(registry, add):
    add(stage="Production")
    content = json.loads(registry.ledger(MODEL).read().entries[-1].raw)
    assert not {"policy", "late", "reason_digest", "ask"} & set(content["events"][0]), "what is empty is not written"
    event = registry.history(MODEL)[-1]
    assert (event.policy, event.late, event.reason_digest, event.ask) == ("", False, None, "")
    row = event.as_row()
    assert (row["policy"], row["late"], row["reason_digest"]) == ("", False, None)


def test_policy_and_digest_of_the_artifacts_are_in_the_event(registry, add):
    version = add(**{"artifacts.digest": "sha256:abc"})
    registry.stage(MODEL, version, approved(policy="reason met, four eyes met"))
    event = registry.history(MODEL)[-1]
    assert event.policy == "reason met, four eyes met"
    assert event.evidence["artifacts"] == "sha256:abc"
