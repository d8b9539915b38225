"""What a fetch remembers of the scrape that it came from: an attr of its own, which a caller may also have made up."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

NOTE = "firecrawl"
"""The attr's name."""
SOURCE_LIMIT_CHARACTERS = 1000
"""Of a URL as it was written; attrs have little room, and a longer one is known as it was read."""

Format = Literal["rawHtml", "html"]


class Note(BaseModel):
    """The formats that were asked for, and the URL as it was written."""

    model_config = ConfigDict(frozen=True)

    formats: list[Format] = ["rawHtml"]
    source_url: str | None = None

    @classmethod
    def of(cls, url: str, *, formats: list[Format]) -> Self:
        """The note of one page."""
        return cls(formats=formats, source_url=url if len(url) <= SOURCE_LIMIT_CHARACTERS else None)

    @classmethod
    def read(cls, attrs: dict[str, JsonValue]) -> Self:
        """The note among attrs; of a fetch that came otherwise, or with attrs that are no note, the default one."""
        given: Any = attrs.get(NOTE, {})
        try:
            return cls.model_validate(given, strict=True)
        except ValidationError:
            return cls()
