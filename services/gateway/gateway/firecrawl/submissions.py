"""What Firecrawl's clients ask for, read strictly: what cannot be done here is refused by its name, never passed over."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Self, get_args
from uuid import UUID

from common.contracts.fetches import AGE_LIMIT_SECONDS, TIMEOUT_LIMIT_SECONDS, AcceptedFetch, HeaderName, HeaderValue
from common.urls import UrlRefusal, read_url
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.firecrawl.notes import NOTE, Format, Note
from gateway.models import FetchSubmission
from gateway.principal import Principal
from gateway.problems.answers import Problem
from gateway.whole_numbers import read_whole

URLS_LIMIT = 1000
TIMEOUT_DEFAULT_MS = 30_000
TIMEOUT_MIN_MS = 1000
FORMATS: Final = frozenset(get_args(Format))
IDLE: Mapping[str, tuple[object, ...]] = {
    "actions": ([],),
    "blockAds": (True, False),
    "checkPromptInjection": (False,),
    "excludeTags": ([],),
    "fastMode": (False,),
    "includeTags": ([],),
    "lockdown": (False,),
    "mobile": (False,),
    "onlyCleanContent": (False,),
    "parsers": ([],),
    "redactPII": (False,),
    "removeBase64Images": (True, False),
    "skipTlsVerification": (True, False),
    "storeInCache": (True,),
    "waitFor": (0,),
    "zeroDataRetention": (False,),
}
"""Options with the values that ask for nothing: clients send many always. Ads and images are of rendered pages and Markdown, and
who lets us skip a check of certificates is not harmed by one: a page without a good certificate fails and says so.
"""
SCRAPE_EXAMPLES: list[JsonValue] = [{"url": "https://example.com/item/7", "formats": ["rawHtml"], "maxAge": 0}]
BATCH_EXAMPLES: list[JsonValue] = [{"urls": ["https://example.com/1", "https://example.com/2"], "formats": ["rawHtml"]}]
NOTICES = frozenset({"origin", "integration"})
"""Which software asks: of no consequence to the page."""


def _asks_for_nothing(name: str, value: object) -> bool:
    """Whether an option that is not made here has a value without consequence. JSON's `false` is not its 0, as Python's is."""
    return any(value == idle and isinstance(value, bool) == isinstance(idle, bool) for idle in IDLE.get(name, ()))


def _tell_what_else_is_taken(schema: dict[str, Any], examples: list[JsonValue]) -> None:
    """Complete a submission's JSON Schema: what has no consequence, and `null` wherever a member may be absent."""
    members = schema["properties"]
    for name in members.keys() - set(schema["required"]):
        if {"type": "null"} not in members[name].get("anyOf", ()):
            told = {key: members[name].pop(key) for key in ("title", "description", "default") if key in members[name]}
            members[name] = told | {"anyOf": [members[name], {"type": "null"}]}
    for name, values in IDLE.items():
        members[name] = {"enum": [*values, None], "description": "Taken with values that ask for nothing."}
    for name in sorted(NOTICES):
        members[name] = {"description": "Which software asks; passed over."}
    one_format = members["formats"]["items"]
    as_object = {"type": "object", "properties": {"type": one_format}, "required": ["type"], "additionalProperties": False}
    members["formats"]["items"] = {"anyOf": [one_format, as_object]}
    schema["additionalProperties"] = {"type": "null"}
    schema["examples"] = examples


class ScrapeOptions(BaseModel):
    """How each page is fetched and what is wanted of it. `null` is the same as absent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    formats: list[Format] = Field(min_length=1, description="`rawHtml` or `html` or both, also as objects with a `type`.")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict,
        max_length=50,
        description="Request headers to send, at most 50.",
        json_schema_extra={"additionalProperties": False},
    )
    timeout: int = Field(
        default=TIMEOUT_DEFAULT_MS, ge=TIMEOUT_MIN_MS, description="Milliseconds; more than 60000 is understood as 60000."
    )
    max_age: int | None = Field(
        default=None, alias="maxAge", ge=0, description="Milliseconds; a stored response of this age may answer. 0: none."
    )
    only_main_content: bool | None = Field(
        default=None, alias="onlyMainContent", description="Not true with `html`; `rawHtml` it does not concern."
    )

    _read_whole = field_validator("timeout", "max_age", mode="before")(read_whole)

    @model_validator(mode="before")
    @classmethod
    def _leave_only_what_is_done(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        kept = {name: value for name, value in given.items() if value is not None and name not in NOTICES}
        known = {field.alias or name for name, field in cls.model_fields.items()}
        refused = [name for name, value in kept.items() if name not in known and not _asks_for_nothing(name, value)]
        if refused:
            names = ", ".join(f"`{name[:40]}`" for name in sorted(refused)[:20])
            raise PydanticCustomError("option_refused", "Not supported here, or not with this value: {names}.", {"names": names})
        if "formats" not in kept:
            detail = 'The default, markdown, is not made here: ask for "formats": ["rawHtml"] or ["html"].'
            raise PydanticCustomError("formats_refused", "{detail}", {"detail": detail, "member": "formats"})
        return {name: value for name, value in kept.items() if name in known}

    @field_validator("formats", mode="before")
    @classmethod
    def _read_formats(cls, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        plain = [format["type"] if isinstance(format, dict) and format.keys() == {"type"} else format for format in given]
        if any(not isinstance(format, str) or format not in FORMATS for format in plain):
            raise PydanticCustomError("formats_refused", "Of all formats only `rawHtml` and `html` are made here.")
        return list(dict.fromkeys(plain))

    @model_validator(mode="after")
    def _html_is_whole(self) -> Self:
        if self.only_main_content and "html" in self.formats:
            detail = "Not supported here: `html` is the whole document. Send false, or ask for `rawHtml` alone."
            raise PydanticCustomError("option_refused", "{detail}", {"detail": detail, "member": "onlyMainContent"})
        return self

    @property
    def timeout_seconds(self) -> float:
        """How long an attempt may take, and how long the caller waits."""
        return min(self.timeout / 1000, TIMEOUT_LIMIT_SECONDS)


class ScrapeSubmission(ScrapeOptions):
    """The body of `POST /v2/scrape`."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _tell_what_else_is_taken(schema, SCRAPE_EXAMPLES))

    url: str = Field(description="The page; without a scheme http:// is meant.")


class BatchScrapeSubmission(ScrapeOptions):
    """The body of `POST /v2/batch/scrape`."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _tell_what_else_is_taken(schema, BATCH_EXAMPLES))

    urls: list[str] = Field(min_length=1, max_length=URLS_LIMIT, description="The pages, at most 1000.")
    ignore_invalid_urls: bool = Field(
        default=True, alias="ignoreInvalidURLs", description="Whether URLs that cannot be fetched are left out and listed."
    )


def absolute_url(given: str) -> str:
    """The URL that is meant: http when it does not say."""
    return given if "://" in given else f"http://{given}"


def is_valid(url: str) -> bool:
    """Whether the URL can be fetched at all."""
    return not isinstance(read_url(absolute_url(url)), UrlRefusal)


def accepted_fetch(
    url: str,
    options: ScrapeOptions,
    *,
    id: UUID,
    principal: Principal,
    now: datetime,
    batch_id: UUID | None = None,
) -> AcceptedFetch:
    """The fetch of one page, to be promised. One of no batch is not begun after its caller has given up.

    Raises the problem invalid-request.
    """
    target = read_url(absolute_url(url))
    if isinstance(target, UrlRefusal):
        raise Problem.of_members([("url", target.detail)])
    try:
        request = FetchSubmission(
            url=target.url,
            headers=options.headers,
            timeout_seconds=options.timeout_seconds,
            max_age_seconds=min(options.max_age / 1000, AGE_LIMIT_SECONDS) if options.max_age else None,
            expires_at=None if batch_id else now + timedelta(seconds=options.timeout_seconds),
        )
    except ValidationError as error:
        raise Problem.of_members([(str(fault["loc"][0]), fault["msg"]) for fault in error.errors()]) from error
    return AcceptedFetch(
        id=id,
        host=target.host,
        accepted_at=now,
        request=request,
        tenant=principal.tenant,
        key_id=principal.key_id,
        batch_id=batch_id,
        attrs={NOTE: Note.of(url, formats=options.formats).model_dump(exclude_none=True)},
    )
