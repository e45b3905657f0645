"""Former champions: the versions that a rollback can bring back."""

from collections.abc import Collection

from include.lifecycle.entries import LedgerState


def former_champions(state: LedgerState, existing: Collection[int]) -> list[int]:
    """Return the versions that the ledger saw in Production before, the one that was live last first.

    :param state: what the ledger says
    :param existing: versions that the registry has
    """
    left: dict[int, None] = {}
    for event in state.events:
        for version in (*event.archived, *((event.version,) if event.is_promotion else ())):
            left.pop(version, None)
            left[version] = None
    return [version for version in reversed(left) if version in existing and version != state.production]
