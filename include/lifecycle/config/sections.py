"""What every section of a configuration is made of."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


def _fires(value: str) -> str:
    """Return a cron expression that fires one day, as far as this environment can tell: croniter comes with Airflow."""
    if not value.startswith("@") and len(value.split()) != 5:
        raise ValueError("expected five cron fields (minute hour day month weekday) or a preset such as @daily")
    try:
        from croniter import CroniterBadDateError, CroniterError, croniter
    except ImportError:
        return value
    try:
        croniter(value).get_next()
    except CroniterBadDateError as error:
        raise ValueError("expected a cron expression for a day that comes: this one never fires") from error
    except (CroniterError, ValueError) as error:
        raise ValueError(f"expected a cron expression such as 0 2 * * * or @daily: {error}") from error
    return value


Cron = Annotated[str, AfterValidator(_fires)]


class Section(BaseModel):
    """A section of the configuration: frozen, and a field it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
