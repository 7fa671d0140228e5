"""As which user and groups a container's first process runs, by its contexts and what its image knows. Pure; as containerd finds them."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.plan import Identity
from services.kubelet.runtime.port import Accounts, Image

STRICT = "Strict"


def identity(context: core.SecurityContext, pod_context: core.PodSecurityContext, image: Image, accounts: Accounts) -> Identity | None:
    """None where the image's user is not among those that it knows: whoever starts it says so."""
    user, group = chosen("run_as_user", context, pod_context), chosen("run_as_group", context, pod_context)
    named, _, named_group = image.user.partition(":") if user is None else (str(user), "", "")
    found = next((entry for entry in _entries(accounts.passwd, 4) if _is(entry, named or "0")), None)
    if found is None and not is_number(named or "0"):
        return None
    uid = int(found[2]) if found is not None else int(named or "0")
    gid = group if group is not None else _group(named_group, accounts)
    if gid is None:
        if named_group:
            return None
        gid = int(found[3]) if found is not None else 0
    added = [] if pod_context.supplemental_groups_policy == STRICT or found is None else _memberships(found[0], accounts)
    return Identity(uid, gid, tuple(one for one in dict.fromkeys((*added, *own_groups(pod_context))) if one != gid))


def chosen(name: str, context: core.SecurityContext, pod_context: core.PodSecurityContext) -> int | None:
    """The container's setting, else the pod's, else None."""
    owner = context if context.HasField(name) else pod_context
    return int(getattr(owner, name)) if owner.HasField(name) else None


def own_groups(pod_context: core.PodSecurityContext) -> tuple[int, ...]:
    """Those that the pod gives all of its containers, whatever their images say."""
    own = (pod_context.fs_group,) if pod_context.HasField("fs_group") else ()
    return (*pod_context.supplemental_groups, *own)


def _group(named: str, accounts: Accounts) -> int | None:
    if not named:
        return None
    found = next((entry for entry in _entries(accounts.group, 3) if _is(entry, named)), None)
    if found is not None:
        return int(found[2])
    return int(named) if is_number(named) else None


def _memberships(name: str, accounts: Accounts) -> list[int]:
    return [int(entry[2]) for entry in _entries(accounts.group, 4) if name in entry[3].split(",")]


def _entries(text: str, fields: int) -> Iterator[list[str]]:
    """The lines that have so many fields, numbers where they belong."""
    for line in text.splitlines():
        entry = line.strip().split(":")
        if len(entry) >= fields and is_number(entry[2]) and (len(entry) < 6 or is_number(entry[3])):
            yield entry


def _is(entry: list[str], named: str) -> bool:
    """By number where it is one, else by name."""
    return int(entry[2]) == int(named) if is_number(named) else entry[0] == named


def is_number(text: str) -> bool:
    """Whether a user or group is named by its number."""
    return text.isascii() and text.isdigit()
