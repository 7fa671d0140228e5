"""The number of files and connections that this process may have open."""

from __future__ import annotations

import contextlib
import resource


def raise_limit() -> int:
    """Raises the limit to what the system permits, as Go's programs do, and answers it: a shell's 1024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
