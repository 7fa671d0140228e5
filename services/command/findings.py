"""What checks found, told to a person or to a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from services.command.checks.check import Result

# Of one check so much is printed; JSON has all.
SHOWN = 10
MARKS = {"pass": "ok  ", "fail": "FAIL", "advice": "note", "skipped": "-   "}


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


def as_json(results: Sequence[Result], *, with_cis: bool = False) -> bytes:
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
                **({"cis": result.check.cis} if with_cis else {}),
                "findings": result.findings,
            }
            for result in results
        ],
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2)
