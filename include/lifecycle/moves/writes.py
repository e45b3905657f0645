"""Writes to the registry: stage, aliases, tags, description. Made by the holder of the promotion lock only."""

import logging
import warnings
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.lifecycle import tags as tag
from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.ledger.anchors import Anchor, sign
from include.lifecycle.ledger.events import Event
from include.lifecycle.ledger.keys import Keyring
from include.lifecycle.ledger.lock import HeldLock
from include.lifecycle.registry.versions import VersionCatalog, VersionInfo, in_production
from include.lifecycle.rules.decisions import Decision
from include.lifecycle.stages import PRODUCTION, STAGING
from include.lifecycle.tags import ALIAS_CHAMPION, ALIAS_PREVIOUS, ROLLED_BACK
from include.lifecycle.untrusted_text import markdown, one_line, shorten, storable

log = logging.getLogger(__name__)

DESCRIPTION_MARK = "\n\n---\n\n**Life cycle:** "
MAX_DESCRIPTION = 5000
"""Characters of a description that MLflow's database keeps."""
REFUSALS = ("PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
"""Answers after which the registry is certainly as it was."""


class RegistryWriter:
    """Writes to one registered model."""

    def __init__(self, client: MlflowClient, model: str) -> None:
        self.client = client
        self.model = model
        self.catalog = VersionCatalog(client)

    def transition(self, held: HeldLock, version: int, to_stage: str) -> None:
        """Move a version; what is in Production before is archived by the same call.

        :raises ReportedError: when MLflow did not do it
        :raises BadInputError: when this user may not
        """
        held.before_write()
        try:
            with warnings.catch_warnings():
                # stages are the workflow that this package serves; aliases are kept in step with them
                warnings.filterwarnings("ignore", r".*[Mm]odel [Rr]egistry stages", FutureWarning)
                self.client.transition_model_version_stage(
                    self.model, str(version), to_stage, archive_existing_versions=to_stage == PRODUCTION
                )
        except MlflowException as error:
            # the answer may have been lost after the move was made
            stages = self.catalog.stages(self.model)
            if stages.get(version) == to_stage and (to_stage != PRODUCTION or in_production(stages) == [version]):
                log.info("MLflow moved version %d and the answer was lost: %s", version, error.message)
                return
            if error.error_code in REFUSALS:
                held.untouched()
                raise BadInputError(
                    f"MLflow refused to move version {version} of {self.model!r} to {to_stage}: {error.message}"
                ) from error
            sentence = f"MLflow did not move version {version} of {self.model!r} to {to_stage}: {error.message}"
            raise ReportedError(sentence) from error

    def wrong_aliases(self, production: int | None, previous: int | None) -> dict[str, int | None]:
        """Return the aliases that do not point where they should: their version, None for one to remove."""
        found = self.catalog.aliases(self.model)
        wanted: Mapping[str, int | None] = {ALIAS_CHAMPION: production, ALIAS_PREVIOUS: previous}
        return {alias: version for alias, version in wanted.items() if found.get(alias) != version}

    def set_aliases(self, held: HeldLock, production: int | None, previous: int | None) -> dict[str, int | None]:
        """Point ``champion`` and ``previous`` where they belong; return those that did not.

        :raises FencedError: when the lock was taken over
        """
        wrong = self.wrong_aliases(production, previous)
        for alias, version in wrong.items():
            held.check()
            if version is None:
                self.client.delete_registered_model_alias(self.model, alias)
            else:
                self.client.set_registered_model_alias(self.model, alias, str(version))
        return wrong

    def anchor(self, info: VersionInfo, known: Anchor, keyring: Keyring) -> None:
        """Keep on a version what an entry of the ledger was."""
        text = sign(keyring, self.model, known)
        self.client.set_model_version_tag(self.model, str(info.version), tag.LEDGER_ANCHOR, text)

    def record_decision(self, info: VersionInfo, event: Event, decision: Decision) -> None:
        """Write a decision on its version: tags and the last paragraph of the description."""
        for key, value in decision.as_tags().items():
            if info.tags.get(key) != value:
                self.client.set_model_version_tag(self.model, str(info.version), key, value)
        text = described(info.description, event)
        if text != info.description:
            self.client.update_model_version(self.model, str(info.version), text)
        over = [tag.PROMOTION_WAITS_UNTIL] if event.moved else []
        over += [tag.PROMOTION_REFUSED, tag.PROMOTION_SKIPPED] if event.is_promotion else []
        for key in over:
            if key in info.tags:
                self.client.delete_model_version_tag(self.model, str(info.version), key)


def described(description: str, event: Event) -> str:
    """Return a version's description with what happened to it last as the last paragraph.

    MLflow shows it as Markdown; user and reason are untrusted text.
    """
    body = description.partition(DESCRIPTION_MARK)[0]
    what = f"{event.what}, {event.from_stage} to {event.to_stage}" if event.moved else event.what
    when = f"{event.decided or event.time:%Y-%m-%d %H:%M} UTC"
    said = f": {markdown(event.reason)}" if event.reason else ""
    last = f"{DESCRIPTION_MARK}{what} by {markdown(event.user, 100)} ({event.door.words}) on {when}{said}"
    return shorten(body, MAX_DESCRIPTION - len(last)) + last if len(last) < MAX_DESCRIPTION else body


def note_rolled_back(client: MlflowClient, event: Event) -> None:
    """Write onto the versions that a rollback archived why it did; what came back loses such a note.

    After the ledger has it all, so that nothing depends on it: what fails here is logged.
    """
    if event.from_stage == STAGING:  # a promotion: asked to roll back to it, there was nothing to do
        return
    text = (
        f"{event.time:%Y-%m-%d %H:%M} UTC: rolled back to version {event.version} by {one_line(event.user, 60)}"
        f" ({event.door.words}): {storable(event.reason)}"
    )
    try:
        for version in event.archived:
            client.set_model_version_tag(event.model, str(version), ROLLED_BACK, text)
        if ROLLED_BACK in client.get_model_version(event.model, str(event.version)).tags:
            client.delete_model_version_tag(event.model, str(event.version), ROLLED_BACK)
    except MlflowException as error:
        log.warning("The reason of the rollback is in the ledger, not on the version: %s", error.message)
