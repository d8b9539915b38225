"""What the public API takes and gives: strict at the door, the store's view with links on the way out."""

from typing import Annotated, Self

from common.contracts.fetches import FetchRequest, HeaderName, HeaderValue, RetryPolicy
from common.contracts.request_headers import is_denied
from common.contracts.views import FetchView
from common.urls import UrlRefusal, read_url
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


def _canonical_url(text: str) -> str:
    """Refuse what the fetcher would refuse before any lookup, so that a client learns at once."""
    target = read_url(text)
    if isinstance(target, UrlRefusal):
        raise PydanticCustomError("url_refused", "{detail}", {"detail": target.detail})
    return target.url


def _caller_header(name: str) -> str:
    if is_denied(name):
        raise PydanticCustomError("header_refused", "This header is set by the fetcher itself; leave it out.")
    return name


class RetrySubmission(RetryPolicy):
    """When to try again; unknown members are refused."""

    model_config = STRICT


class FetchSubmission(FetchRequest):
    """The body of `POST /v1/fetches`: only `url` is required; unknown members are refused."""

    model_config = STRICT

    url: Annotated[
        str, Field(min_length=1, max_length=4096, description="Absolute http or https URL."), AfterValidator(_canonical_url)
    ]
    headers: dict[Annotated[HeaderName, AfterValidator(_caller_header)], HeaderValue] = Field(
        default_factory=dict, max_length=50, description="Request headers to send, at most 50."
    )
    retries: RetrySubmission = Field(default_factory=RetrySubmission, description="When to try again.")


class Links(BaseModel):
    """Where to go from a fetch."""

    self_: str = Field(alias="self", serialization_alias="self")
    content: str


class FetchDocument(FetchView):
    """One fetch, as the public API shows it."""

    links: Links

    @classmethod
    def of(cls, view: FetchView) -> Self:
        """The document of a view."""
        path = f"/v1/fetches/{view.id}"
        return cls(**dict(view), links=Links(self=path, content=f"{path}/content"))
