"""What a gate says of a version, for tests that have no gate."""

from include.lifecycle import tags as tag
from include.lifecycle.ledger.statements import Validation


def validation(model: str, version: int, *, passed: bool = True, **fields: object) -> Validation:
    """What the ledger should know of a version's gate."""
    said = {
        "outcome": tag.PASSED if passed else tag.FAILED,
        "metric": "rmspe",
        "value": "0.09" if passed else "0.11",
        "threshold": "0.1",
        "failed": () if passed else ("rmspe 0.11 is not below 0.1",),
        **fields,
    }
    return Validation(model=model, version=version, **said)  # type: ignore[arg-type]
