"""What every section of a configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section of the configuration: frozen, and a field it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
