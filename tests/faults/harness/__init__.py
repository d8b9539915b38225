"""What the fault suite is made of: a cluster of real processes, faults to inject, load, an origin that logs, and a checker."""
