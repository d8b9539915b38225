"""What a skew test is told about the stack that it runs on."""

from dataclasses import dataclass, field

NOBODY = "nobody"
"""Stands for the service of the previous release when all are new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Which service is of the previous release, and the fetches that were under way when it took over from the new one."""

    earlier: str
    carried: list[str] = field(default_factory=list)
