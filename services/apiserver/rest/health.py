"""/healthz, /livez and /readyz."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.apiserver.rest.query import Query
from services.apiserver.rest.response import Response, text

# A name and whether that part is well.
Checks = Mapping[str, Callable[[], bool]]
NO_SNIFF = (b"x-content-type-options", b"nosniff")


def health(probe: str, checks: Checks, query: Query) -> Response:
    """``ok``, or which checks failed; ``?verbose`` names every one, ``?exclude=`` leaves some out."""
    excluded = set(query.all("exclude"))
    results = [(name, name in excluded or check(), name in excluded) for name, check in checks.items()]
    well = all(passed for _, passed, _ in results)
    if well and "verbose" not in query:
        return _answer("ok", 200)
    lines = [_line(name, passed, left_out) for name, passed, left_out in results]
    if strangers := sorted(excluded - checks.keys()):
        named = ", ".join(f'"{name}"' for name in strangers)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {named}")
    lines.append(f"{probe} check {'passed' if well else 'failed'}")
    return _answer("\n".join(lines) + "\n", 200 if well else 500)


def _line(name: str, passed: bool, left_out: bool) -> str:
    if left_out:
        return f"[+]{name} excluded: ok"
    return f"[+]{name} ok" if passed else f"[-]{name} failed: reason withheld"


def _answer(body: str, status: int) -> Response:
    answer = text(body, status)
    answer.headers = [NO_SNIFF]
    return answer
