"""Which recorded predictions count as live: the one rule, for the step that records them and those that read them.

A prediction is

- **published** when the pointer to the newest, ``latest.json``, named it: that is what consumers read, whoever started
  the run. Only this is live;
- **beside** when it is of the same rows and data as the nights', and consumers did not get it: another version or
  stage, a file or name of one's own, an old night that is run again. Versions are compared by it, nothing else;
- **aside** when its rows or its data revision are somebody's own. The monitoring does not read it.

What was published once stays so: consumers had it, though the run is repeated after a newer one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from mlflow.entities import Run

from include.lifecycle.rules.decisions import time_of
from include.retraining.config.model import ModelConfig
from include.retraining.predict.publish import LATEST
from include.retraining.predict.request import PredictionRequest

Use = Literal["published", "beside", "aside"]

USE_TAG = "prediction.use"
AT_TAG = "prediction.use_since"
"""When it was published or made, as ISO text in UTC."""


def use_tags(
    before: Mapping[str, str], request: PredictionRequest, config: ModelConfig, *, pointer: str | None, now: datetime
) -> dict[str, str]:
    """Return the tags that say what a prediction is.

    :param before: tags of its run from an earlier try
    :param request: what was asked for
    :param pointer: the one that names its files now, None: none does
    :param now: with a timezone
    """
    if before.get(USE_TAG) == "published":
        return {}
    use: Use = "aside" if request.is_own(config) else "beside"
    if pointer == LATEST:
        use = "published"
    return {USE_TAG: use, AT_TAG: now.astimezone(UTC).isoformat()}


def use_of(run: Run) -> Use:
    """Return what a recorded prediction is; without the tag only what is surely published is taken for that."""
    tags = run.data.tags
    match tags.get(USE_TAG):
        case "published":
            return "published"
        case "beside":
            return "beside"
        case None if tags.get("latest") == "true" and tags.get("model.stage") == "Production":
            return "published"
    return "aside"


def used_since(run: Run) -> datetime:
    """Return when a prediction was published, or made, in UTC."""
    made = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return time_of(run.data.tags.get(AT_TAG)) or made
