"""Event loops for tests."""

from __future__ import annotations

import warnings

import uvloop


class Loop(uvloop.Loop):
    """uvloop, where warnings are errors: what is open still when it closes is closed first, and told of then.

    uvloop closes what was left open after it has warned of it, in a callback of C. A warning that is an exception there is lost, the thing
    stays open, and the loop waits for its end for ever.
    """

    def close(self) -> None:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            super().close()
        for one in told:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno, source=one.source)


def new_uvloop() -> uvloop.Loop:
    return Loop()
