"""Stages of a model version and the moves between them that the life cycle knows. Standard library only."""

from include.lifecycle.errors import BadInputError

NONE = "None"
STAGING = "Staging"
PRODUCTION = "Production"
ARCHIVED = "Archived"
STAGES = (NONE, STAGING, PRODUCTION, ARCHIVED)

MOVES: dict[str, tuple[str, ...]] = {
    NONE: (STAGING,),
    STAGING: (PRODUCTION, NONE),
    PRODUCTION: (),
    ARCHIVED: (),
}
"""From each stage, where ``ModelRegistry.transition`` may move a version.

Production is left only by being replaced, and Archived only by a rollback; both are done by the promotion
itself. Staging to None is for a candidate that a newer one supersedes.
"""


def parse_stage(text: str) -> str:
    """Return the stage that ``text`` names, whatever its case.

    :param text: e.g. ``staging``
    :raises BadInputError: when there is no such stage
    """
    for stage in STAGES:
        if text.strip().lower() == stage.lower():
            return stage
    raise BadInputError(f"Unknown stage {text[:40]!r}: stages are {', '.join(STAGES)}")
