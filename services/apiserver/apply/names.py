"""What managers are called, and which names are none."""

from __future__ import annotations

from typing import Any

from knarr.machinery.errors import Cause
from knarr.machinery.errors import invalid as refused
from knarr.machinery.validation import forbidden, invalid, required, too_long

# Kubernetes' bound for the name of a manager.
MAX_BYTES = 128
UNKNOWN = "unknown"
_NODE = "system:node:"


def manager_name(wanted: str, agent: str | None, user: str) -> str:
    """Who a write is by: as the request says, else as its client calls itself; where clients do not, as its user is called."""
    if wanted:
        return wanted
    name = _component(user) if agent is None else agent.partition("/")[0]
    if not name.isprintable():
        name = "".join(filter(str.isprintable, name))
    return _shortened(name) or UNKNOWN


def _component(user: str) -> str:
    return "kubelet" if user.startswith(_NODE) else user.removeprefix("system:")


def check_options(options: Any, *, patches: bool = False, applies: bool = False) -> None:
    """Raises Invalid for the options of a write that name no manager where one must be, or one that is none."""
    causes = [required("fieldManager", "is required for apply patch")] if applies and not options.field_manager else []
    if patches and not applies and options.HasField("force"):
        causes.append(forbidden("force", "may not be specified for non-apply patch"))
    if options.field_manager:
        causes += check_name("fieldManager", options.field_manager)
    if causes:
        raise refused(options.DESCRIPTOR.name, "", causes, "meta.k8s.io")


def check_name(path: str, name: str) -> list[Cause]:
    """At most so long, and without what cannot be printed."""
    causes = [too_long(path, MAX_BYTES)] if len(name.encode()) > MAX_BYTES else []
    if not name.isprintable():
        place, letter = next((place, letter) for place, letter in enumerate(name) if not letter.isprintable())
        causes.append(invalid(path, name, f"invalid character U+{ord(letter):04X} (at position {len(name[:place].encode())})"))
    return causes


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_BYTES // 4 else name.encode()[:MAX_BYTES].decode(errors="ignore")
