"""What is made of generated requests before they are sent, and which findings are none. Each has its reason."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure, ServerError
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

GOOD_KEY = re.compile(r'[!#-+.-:<-~-]{1,200}|"(?:[ !#-\[\]-~]|\\["\\]){1,200}"')
BATCHES, SCRAPE = "/v1/batches", "/v2/scrape"
SCRAPE_TIMEOUT_MS = 1000
RULES = (
    # of URLs and hosts: what a URL is that can be fetched is in RFC 3986 and in nobody's JSON Schema
    r"The URL .+", r"Only http and https URLs are fetched.", r"The host is .+", r"The port is not a number from 1 to 65535.",
    r"This is not a host; write it as .+", r"None of these can be fetched.", r"[0-9]+ cannot be fetched; the first is .*",
    # of times: whether one has passed is not to be seen in it
    r"This time has passed.*", r"This is more than [36]0 days ahead.", r"This is not after the earliest start, .+",
    r"Give either this or `delay_seconds`, not both.", r"There is no such time.", r"A time is text as in RFC 3339 .+",
    # of several members together
    r"A (GET|HEAD) request has no body; leave it out.", r"(POST|PATCH) is not idempotent and is attempted at most once; .+",
    r"Not supported here: `html` is the whole document. .+",
    # of header names: RFC 9110 ignores their case, which JSON Schema's patterns cannot
    r"This header is set by the fetcher itself; leave it out.",
    # of text and sizes once they are encoded
    r"There is text that is not Unicode, or a number that is too large.", r"This is not Unicode text.",
    r"Text here may not hold NUL.", r"These exceed 4096 bytes of JSON.", r"The body exceeds 32768 bytes.",
    r"This is not base64 with padding .+",
)  # fmt: skip
"""Sentences about rules that a JSON Schema cannot tell. Only who is refused for these alone was refused rightly."""
RULE = re.compile("|".join(RULES), re.DOTALL)
numbers = itertools.count()


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Requests become such that they can be served, as the API asks for it in words; what is wrong with one stays wrong."""
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        _take_a_new_key(case)
    if case.path == SCRAPE and isinstance(case.body, dict) and _is_long(case.body.get("timeout", SCRAPE_TIMEOUT_MS + 1)):
        # A scrape waits as long as its caller says. Hosts that fail are left alone, so that most would wait in vain.
        case.body = case.body | {"timeout": SCRAPE_TIMEOUT_MS}


def _is_long(timeout: object) -> bool:
    return timeout is None or isinstance(timeout, int | float) and timeout > SCRAPE_TIMEOUT_MS and timeout == int(timeout)


def _take_a_new_key(case: Case) -> None:
    """A new request takes a new Idempotency-Key; generators like the same few."""
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if isinstance(key, str) and GOOD_KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = f'"{next(numbers)}-{key[1:]}' if key.startswith('"') else f"{next(numbers)}-{key}"


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Whether a failure is one."""
    if isinstance(failure, RejectedPositiveData):
        return not (_is_failed_scrape(case, response) or _is_refused_by_rule(response))
    if isinstance(failure, AcceptedNegativeData):
        return not (case.path == BATCHES and response.json()["rejected"])  # a line that is wrong is named in the answer
    if isinstance(failure, ServerError):
        return not _is_failed_scrape(case, response)
    if isinstance(failure, UseAfterFree):
        return not _is_ended(response)
    return True


def _is_failed_scrape(case: Case, response: Response) -> bool:
    """Firecrawl answers with 408 and 500 where it is the page that cannot be had; here none can."""
    return case.path == SCRAPE and str(response.json().get("code")).startswith("SCRAPE_")


def _is_ended(response: Response) -> bool:
    """DELETE cancels fetches and revokes keys: both stay to be read, as what they are now."""
    document = response.json()
    return document.get("state") == "revoked" or document.get("status") == "cancelled"


def _is_refused_by_rule(response: Response) -> bool:
    """Whether a request that fits its schema was refused for what no schema can tell."""
    document = response.json()
    if document.get("type") == "/problems/cursor-mismatch":  # a cursor is whatever we gave out, with the filters it came with
        return True
    sentences = list(_sentences(document))
    return bool(sentences) and all(RULE.fullmatch(sentence) for sentence in sentences)


def _sentences(document: dict[str, Any]) -> Iterator[str]:
    """What is wrong with each member; Firecrawl's form names the member before the sentence."""
    yield from (error["detail"] for error in document.get("errors", ()))
    if document.get("success") is False:
        yield document["error"].partition(": ")[2]


@schemathesis.serializer("application/x-ndjson")
def write_lines(context: Any, value: Any) -> bytes:
    """Lines are generated as text, which goes as it is."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
