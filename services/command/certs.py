"""`knarr certs`: what is there, and making it anew."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from knarr.service.keypair import KeyPair
from services.command.output import deliver
from services.command.table import aligned
from services.standalone.certificates import Found, certificates, renew, show_in_kubeconfig

HEADINGS = ("NAME", "FOR", "GROUPS", "BY", "EXPIRES", "STATE")
# Whose certificate the kubeconfig has.
ADMIN = "admin"


def show(folder: Path, output: str) -> int:
    """Prints them; 1 where one of them is not good, or not for long."""
    found, moment = certificates(folder), datetime.now(UTC)
    deliver(_form(found, moment, output))
    return 0 if all(one.state(moment) == "good" for one in found) else 1


def renewed(folder: Path, names: Sequence[str], kubeconfig: Path | None, output: str) -> int:
    """Makes them anew, and prints them as they are now."""
    found, moment = renew(folder, names), datetime.now(UTC)
    if kubeconfig is not None and any(one.name == ADMIN for one in found):
        show_in_kubeconfig(kubeconfig, KeyPair.load(folder, ADMIN))
    deliver(_form(found, moment, output))
    return 0


def _form(found: Sequence[Found], moment: datetime, output: str) -> str:
    if output == "json":
        return orjson.dumps([one.as_dict(moment) for one in found], option=orjson.OPT_INDENT_2).decode()
    return _table(found, moment)


def _row(found: Found, moment: datetime) -> tuple[str, ...]:
    days = (found.ends - moment).days
    until = f"{found.ends:%Y-%m-%d} ({days} d)"
    return found.name, found.subject or "-", ",".join(found.groups) or "-", found.authority or "itself", until, found.state(moment)


def _table(found: Sequence[Found], moment: datetime) -> str:
    return "\n".join(aligned([HEADINGS, *(_row(one, moment) for one in found)], gap="   "))
