"""/healthz, /livez and /readyz."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.apiserver.rest.query import Query
from services.apiserver.rest.response import Response, text

# A name and whether that part is well.
Checks = Mapping[str, Callable[[], bool]]


def health(probe: str, checks: Checks, query: Query) -> Response:
    """``ok``, or which checks failed; ``?verbose`` names every one, ``?exclude=`` leaves some out."""
    excluded = set(query.all("exclude"))
    results = [(name, check()) for name, check in checks.items() if name not in excluded]
    well = all(passed for _, passed in results)
    if well and "verbose" not in query:
        return text("ok")
    lines = [f"[+]{name} ok" if passed else f"[-]{name} failed: reason withheld" for name, passed in results]
    lines.append(f"{probe} check {'passed' if well else 'failed'}")
    return text("\n".join(lines) + "\n", 200 if well else 500)
