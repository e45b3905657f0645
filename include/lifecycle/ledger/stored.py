"""Data classes that the ledger stores: as what JSON can hold, and back."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, ConfigDict, PlainSerializer, TypeAdapter, ValidationError

Time = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC)), PlainSerializer(datetime.isoformat)]
"""A time, read in UTC."""
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


class Stored:
    """Base of a data class that the ledger stores. A field that it does not know is an error."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """Return what the ledger stores."""
        content: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json", by_alias=True)
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` made.

        :raises ValueError: names the fields that are not what they should be
        """
        try:
            found: Self = _adapter(cls).validate_python(content)
        except ValidationError as error:
            wrong = [" ".join(map(str, (*item["loc"], item["msg"]))) for item in error.errors()]
            raise ValueError(f"not {cls.__name__}: {'; '.join(wrong)}") from error
        return found
