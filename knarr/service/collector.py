"""Python's cycle collector, and the C library's heap, in a process that starts once and then serves for long."""

from __future__ import annotations

import asyncio
import ctypes
import gc

# Requests make and drop thousands of objects that are in no cycle: look less often than the default (700, 10, 10) does. What was looked
# through once is looked through again while it is little: of ten thousand pods that began a million were left for ``give_back`` to look
# through at once, which took half a second. What is old is as seldom looked through as what is so many times younger is often.
THRESHOLDS = (20_000, 5, 1_000)
GIVE_BACK_SECONDS = 30.0
# To look through so many objects takes some 10 ms. Where there are more, to count them takes as long: that is done seldom, then.
FEW_OBJECTS = 100_000
UNCOUNTED_ROUNDS = 20
# What a start has made is looked through for garbage up to so many objects, half a second's; of thousands of simulated nodes it is kept.
MOST_LOOKED_THROUGH = 2_000_000
# glibc's names for what it keeps of the heap's free end, and for how large a block must be to be mapped apart. By itself it keeps no more
# than twice the largest block that was ever freed: an answer of 3 MB, copied on its way, was given back and asked for again page by page,
# with 1,400 page faults of 2 µs. What is kept goes back with the next ``give_back``.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# The same for how many heaps threads have.
M_ARENA_MAX = -8
KEPT_BYTES, MAPPED_BYTES = 32 * 1024 * 1024, 8 * 1024 * 1024


def share_heap() -> None:
    """Has all threads share one heap of the C library; to be called before there are any.

    Else each has its own, and what is freed in one serves no other: 5 MB of a cluster at rest. They would seldom use them at once, since
    Python's code runs in one of them at a time.
    """
    _mallopt(M_ARENA_MAX, 1)


def spare_loaded() -> None:
    """Tells the garbage collector, where all modules are loaded, that what exists now stays.

    ``settle`` then looks through the rest alone: all of it took a tenth of a second, in which nobody was served. The little that was
    garbage by now, some hundred objects, is kept.
    """
    gc.freeze()


def settle(kept_bytes: int = KEPT_BYTES, mapped_bytes: int = MAPPED_BYTES) -> None:
    """Tells the garbage collector, after the start, that what exists now stays, and the C library that what is freed will be wanted again:
    up to ``kept_bytes``, in blocks smaller than ``mapped_bytes``.

    The collector need not look at that again, and looks seldom at the rest.
    """
    if gc.get_count()[0] <= MOST_LOOKED_THROUGH:
        gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
    _mallopt(M_TRIM_THRESHOLD, kept_bytes)
    _mallopt(M_MMAP_THRESHOLD, mapped_bytes)


def _mallopt(name: int, value: int) -> None:
    """Another C library than glibc is left alone."""
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(name, value)


_gone = False


def tell_gone() -> None:
    """Much that is old and in cycles is wanted no more: the next look is through all there is, however much that is."""
    global _gone
    _gone = True


async def give_back() -> None:
    """Returns what was freed to the system, again and again: the C library does so for the end of its heap alone, and one
    small object that stays behind a burst of large ones holds all of it.
    """
    global _gone
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    uncounted = 0
    while trim is not None:
        await asyncio.sleep(GIVE_BACK_SECONDS)
        few = not uncounted and len(gc.get_objects(2)) < FEW_OBJECTS
        uncounted = 0 if few else (uncounted or UNCOUNTED_ROUNDS) - 1
        gone, _gone = _gone, False
        # A connection that is gone is in a cycle; where little happens nobody looks.
        gc.collect(2 if few or gone else 1)
        # Milliseconds, during which this thread's lock is free.
        await asyncio.to_thread(trim, 0)
