"""Whose robots.txt binds a URL, and what comes of it (RFC 9309 sections 2.2 and 2.3). Pure."""

from urllib.parse import urlsplit

from common.contracts.fetches import RobotsVerdict
from common.contracts.robots import RobotsAvailability
from common.robots.rules import RobotsRules
from common.urls import DEFAULT_PORTS, Target


def origin_of(target: Target) -> str:
    """What a robots.txt speaks for, as its contract spells it: the port only when the scheme has another."""
    name = f"[{target.name}]" if ":" in target.name else target.name
    return f"{target.scheme}://{name}" + ("" if target.port == DEFAULT_PORTS[target.scheme] else f":{target.port}")


def is_exempt(url: str) -> bool:
    """Whether this is a robots.txt itself, which is always allowed (section 2.2.2)."""
    return "/robots.txt" in url and urlsplit(url).path == "/robots.txt"


def judge_url(availability: RobotsAvailability, rules: RobotsRules, url: str) -> RobotsVerdict:
    """What a file says about a URL of its origin; without a file its availability decides (section 2.3.1)."""
    match availability:
        case RobotsAvailability.FOUND:
            return RobotsVerdict.ALLOWED if rules.is_allowed(url) else RobotsVerdict.DISALLOWED
        case RobotsAvailability.UNAVAILABLE:
            return RobotsVerdict.UNAVAILABLE
        case RobotsAvailability.UNREACHABLE:
            return RobotsVerdict.UNREACHABLE
