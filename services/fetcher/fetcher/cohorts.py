"""Attempts that stand before the same step of their way go through it one right after another.

The way of an attempt touches more code and data than a processor's second-level cache holds: who walks it alone, from end to end,
finds nothing of it left from the walk before. Cut into steps it fits, and only the first through a step pays for it (J. Larus and
M. Parkes, Using Cohort Scheduling to Enhance Server Performance, USENIX 2002). `make bench-cohorts` measures it.
"""

import asyncio


async def fall_in() -> None:
    """Wait until all that are ready now stand before their next step: one turn of the event loop, some microseconds if idle."""
    await asyncio.sleep(0)
