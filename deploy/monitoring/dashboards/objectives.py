"""Where the edges of our objectives lie, for the thresholds of traffic lights. What they promise is in docs/slos.md."""

AVAILABILITY = 0.999
ACCEPT_SECONDS, ACCEPT_SHARE = 0.3, 0.99
DISPATCH_SECONDS, DISPATCH_SHARE = 1.0, 0.99
