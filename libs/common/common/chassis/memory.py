"""Keep the garbage collector from scanning, again and again, what lives as long as the process."""

import gc

FIRST_GENERATION_OBJECTS = 50_000


def settle_garbage_collector() -> None:
    """Call once, when everything is imported: what exists now is never scanned again, and young objects less often.

    Reference counts still free almost everything at once; the collector only finds cycles. In the fetcher this saves 5 to 10 %
    of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(FIRST_GENERATION_OBJECTS, 20, 100)
