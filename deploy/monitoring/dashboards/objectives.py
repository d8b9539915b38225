"""Where the edges of our objectives lie, for the thresholds of traffic lights; slos.py has the objectives."""

from slos import OBJECTIVES

_SHARES = {objective.name: objective.objective for objective in OBJECTIVES}
AVAILABILITY = _SHARES["availability"]
ACCEPT_SECONDS, ACCEPT_SHARE = 0.3, _SHARES["accept_latency"]
DISPATCH_SECONDS, DISPATCH_SHARE = 1.0, _SHARES["first_attempt"]
