"""Python's cycle collector in a process that starts once and then serves for long."""

from __future__ import annotations

import gc

# Requests make and drop thousands of objects that are in no cycle: look less often than the default (700, 10, 10) does.
THRESHOLDS = (20_000, 50, 100)


def settle() -> None:
    """Tells the garbage collector, after the start, that what exists now stays.

    It need not look at that again, and looks seldom at the rest.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
