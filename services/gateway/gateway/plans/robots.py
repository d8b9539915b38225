"""The robots part of a plan: what the files that fetchers have read say about URLs. Pure, and slow where files are large."""

from collections.abc import Iterable
from datetime import datetime

from common.contracts.plans import PlanAnswer
from common.contracts.robots import RobotsAvailability, RobotsFile
from common.robots.rules import RobotsRules
from common.robots.verdicts import is_exempt, judge_url, origin_of
from common.urls import Target

from gateway.plans.models import RobotsPlan, RobotsPlanVerdict

QUOTED_CHARACTERS = 16 * 1024
"""Rules up to this length are quoted: 3 ms a URL. Of 500 KiB a quote was measured to take 50 ms, a verdict 6."""


def judge_robots(targets: Iterable[Target], answer: PlanAnswer, *, product_token: str, now: datetime) -> dict[str, RobotsPlan]:
    """By canonical URL, but for targets whose file the store left out."""
    files = {file.origin: file for file in answer.robots}
    omitted = frozenset(answer.robots_omitted)
    plans: dict[str, RobotsPlan] = {}
    rules: dict[str, RobotsRules] = {}
    for target in targets:
        origin = origin_of(target)
        file = files.get(origin)
        if is_exempt(target.url):
            plans[target.url] = RobotsPlan(verdict=RobotsPlanVerdict.ALLOWED)
        elif file is not None and _holds(file, now=now):
            if origin not in rules:
                rules[origin] = RobotsRules.read(file.text, product_token=product_token)
            plans[target.url] = _judge(file, rules[origin], target.url, now=now)
        elif origin not in omitted:
            plans[target.url] = RobotsPlan(verdict=RobotsPlanVerdict.UNKNOWN)
    return plans


def _holds(file: RobotsFile, *, now: datetime) -> bool:
    """An expired file most likely says the same when it is asked for again; that it could not be read need not be so."""
    return file.availability is not RobotsAvailability.UNREACHABLE or file.expires_at > now


def _judge(file: RobotsFile, rules: RobotsRules, url: str, *, now: datetime) -> RobotsPlan:
    return RobotsPlan(
        verdict=RobotsPlanVerdict(judge_url(file.availability, rules, url)),
        line=rules.quote(url) if rules.weight <= QUOTED_CHARACTERS else None,
        crawl_delay_seconds=rules.crawl_delay_seconds,
        fetched_at=file.fetched_at,
        is_stale=file.expires_at <= now,
    )
