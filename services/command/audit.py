"""``knarr audit``: looks whether a cluster is as safe as it can be, and says of what is not how it is mended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from knarr.service.errors import CommandError
from services.command.api import ApiClient, Refused
from services.command.checks import connections, control_plane, files, pods, roles
from services.command.checks.check import Check, Result, run
from services.command.checks.facts import Facts

CHECKS: tuple[Check, ...] = (*control_plane.CHECKS, *connections.CHECKS, *files.CHECKS, *roles.CHECKS, *pods.CHECKS)
# Of one check so much is printed; JSON has all.
SHOWN = 10
MARKS = {"pass": "ok  ", "fail": "FAIL", "advice": "note", "skipped": "-   "}


def audit(api: ApiClient, folder: Path | None, checks: Sequence[Check] = CHECKS) -> list[Result]:
    """Raises CommandError where the cluster does not say what is to be known."""
    facts = Facts(api, folder)
    try:
        return [run(check, facts) for check in checks]
    except Refused as refused:
        raise CommandError(f"the cluster does not show what is to be looked at: {refused}; ask as its administrator") from refused


def has_failed(results: Sequence[Result]) -> bool:
    return any(result.state == "fail" for result in results)


def as_text(results: Sequence[Result]) -> str:
    lines: list[str] = []
    for result in results:
        check = result.check
        lines.append(f"{MARKS[result.state]}  {check.id:<26}  {check.what}")
        lines += [f"        {finding}" for finding in result.findings[:SHOWN]]
        if len(result.findings) > SHOWN:
            lines.append(f"        … and {len(result.findings) - SHOWN} more (-o json)")
        if result.state in ("fail", "advice"):
            lines += [f"        why: {check.why}", f"        mend: {check.mend}"]
    counted = [f"{sum(result.state == state for result in results)} {words}" for state, words in _WORDS]
    return "\n".join([*lines, ", ".join(counted)])


_WORDS = (("pass", "well"), ("fail", "failed"), ("advice", "to think about"), ("skipped", "not to be seen from here"))


def as_json(results: Sequence[Result]) -> bytes:
    """One object: ``failed``, and ``checks`` with all that is known of each."""
    found: dict[str, Any] = {
        "failed": has_failed(results),
        "checks": [
            {
                "id": result.check.id,
                "state": result.state,
                "what": result.check.what,
                "why": result.check.why,
                "mend": result.check.mend,
                "cis": result.check.cis,
                "findings": result.findings,
            }
            for result in results
        ],
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2)
