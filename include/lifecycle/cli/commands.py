"""The commands of people for one model, added to its command line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from include.lifecycle.cli.console import PEOPLE, say
from include.lifecycle.config.models import LifecycleConfig
from include.lifecycle.errors import BadInputError

if TYPE_CHECKING:
    from include.lifecycle.cli.people import Person

Reason = Annotated[str, typer.Option(help="Why: kept in the promotion history")]
ModelName = Annotated[str | None, typer.Option("--model", help="Registered model; default: the configured one")]


def add_commands(app: typer.Typer, load: Callable[[], LifecycleConfig]) -> None:
    """Add the commands to a command line.

    :param load: reads the model's configuration when a command runs
    """

    def person(model: str | None = None) -> "Person":
        from include.lifecycle.cli.people import Person  # here, for MLflow takes seconds

        return Person(load(), model)

    @app.command(rich_help_panel=PEOPLE)
    def init() -> None:
        """Make the model's names in MLflow before anybody else can; says whose they are."""
        say(person().init())

    @app.command(rich_help_panel=PEOPLE)
    def promote(
        reason: Reason,
        version: Annotated[int | None, typer.Option(help="Model version; needed when several wait in Staging")] = None,
    ) -> None:
        """Promote a version from Staging to Production; the one before is archived."""
        say(person().promote(version, reason))

    @app.command(rich_help_panel=PEOPLE)
    def reject(reason: Reason, version: Annotated[int, typer.Option(help="Model version in Staging")]) -> None:
        """Reject a version that waits in Staging; Production stays as it is."""
        say(person().reject(version, reason))

    @app.command(rich_help_panel=PEOPLE)
    def rollback(
        reason: Reason,
        version: Annotated[
            int | None, typer.Option(help="A version that was in Production; default: the one before, after a question")
        ] = None,
    ) -> None:
        """Put a former Production version back; the current one is archived."""
        who = person()
        say(who.rollback(version if version is not None else proposed(who), reason))

    @app.command(rich_help_panel=PEOPLE)
    def history(
        model: ModelName = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table")] = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of a table")] = False,
        verify: Annotated[bool, typer.Option("--verify", help="Check that the record is whole, instead")] = False,
        anchor: Annotated[
            list[str] | None, typer.Option(help="With --verify: ENTRY:DIGEST from a confirmation; may be repeated")
        ] = None,
        anchors: Annotated[
            Path | None, typer.Option(help="With --verify: a file that RETRAIN_LEDGER_ANCHORS collected")
        ] = None,
    ) -> None:
        """List the promotions: when, which version, who, why."""
        from include.lifecycle.cli import record

        if as_json + as_csv + verify > 1:
            raise BadInputError("--json, --csv and --verify exclude one another: give one")
        if (anchor or anchors) and not verify:
            raise BadInputError("--anchor and --anchors are compared by --verify: give that as well")
        who = person(model)
        if verify:
            say(record.verify(who.registry, who.model, anchor or [], anchors))
        else:
            listing = record.history_json if as_json else record.history_csv if as_csv else record.history
            say(listing(who.registry, who.model))

    @app.command(name="live-at", rich_help_panel=PEOPLE)
    def live_at(
        when: Annotated[str, typer.Argument(help="Time with its timezone, e.g. 2026-03-01T12:00Z")],
        model: ModelName = None,
    ) -> None:
        """Say which version was in Production at a time, who put it there and why."""
        from include.lifecycle.cli import record

        who = person(model)
        say(record.live_at(who.registry, who.model, when))

    @app.command(rich_help_panel=PEOPLE)
    def reconcile() -> None:
        """Repair stages and aliases from the promotion ledger, e.g. after a crash."""
        say(person().reconcile())

    @app.command(rich_help_panel=PEOPLE)
    def retention(
        delete: Annotated[
            bool, typer.Option("--delete", help="Delete what may go; without it nothing is changed")
        ] = False,
    ) -> None:
        """Say which versions are kept and why, and which may be deleted."""
        say(person().retention(delete=delete))

    @app.command(rich_help_panel=PEOPLE)
    def seal(version: Annotated[int, typer.Option(help="A version that was registered without digests")]) -> None:
        """Record the digests of a version's artifacts, as the store holds them now."""
        say(person().seal(version))

    @app.command(name="seal-ledger", rich_help_panel=PEOPLE)
    def seal_ledger(model: ModelName = None) -> None:
        """Take a promotion ledger from before there was a key on trust, once; read `history` first."""
        from include.lifecycle.cli import record

        who = person(model)
        say(record.seal(who.registry, who.model))

    @app.command(name="accept-ledger", rich_help_panel=PEOPLE)
    def accept_ledger(
        reason: Reason,
        after: Annotated[
            str | None, typer.Option(help="ENTRY:DIGEST of the last entry that is known of, where all is lost")
        ] = None,
        model: ModelName = None,
    ) -> None:
        """Go on with a promotion ledger that is damaged or lost; the ledger keeps who accepted that and why."""
        say(person(model).accept_ledger(reason, after))


def proposed(who: "Person") -> int:
    """Return the version of the champion before, once whoever sits at the terminal agreed to it.

    :raises BadInputError: when there is no terminal, naming the version, or no such version
    """
    version, known = who.proposal()
    if not sys.stdin.isatty():
        raise BadInputError(f"The rollback names no version; the champion before was {known}: give --version {version}")
    say([f"The champion before was {known}"])
    if not typer.confirm(f"Roll back to version {version}?", default=False):
        say(["Nothing was changed"])
        raise typer.Exit(1)
    return version
