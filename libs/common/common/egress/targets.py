"""What can be judged of a URL without asking anybody. Pure."""

from common.egress.addresses import AddressVerdict, judge_before_lookup, judge_dial, read_literal
from common.egress.policies import EgressPolicy
from common.urls import Target, UrlProblem, UrlRefusal


def judge_refusal(refusal: UrlRefusal) -> AddressVerdict:
    """The verdict on a URL that we declined to read."""
    return AddressVerdict.DENY_SCHEME if refusal.problem is UrlProblem.SCHEME else AddressVerdict.DENY_URL


def judge_unasked(target: Target, *, policy: EgressPolicy | None) -> AddressVerdict | None:
    """The verdict on a target that needs no lookup: on every address literal, on a name where it is certain; else None."""
    address = read_literal(target.name)
    if address is None:
        return judge_before_lookup(target.name, target.port, policy=policy)
    return judge_dial(address, target.port, policy=policy)
