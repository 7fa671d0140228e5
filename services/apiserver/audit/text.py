"""Parts of an event as JSON. Most requests are of the same callers, agents and addresses: their parts are written once."""

from __future__ import annotations

import os
import time
from functools import lru_cache

import orjson

from knarr.service.authentication import User
from services.apiserver.results import Ref

# As Kubernetes cuts it.
MAX_AGENT_LETTERS = 1024
MAX_URI_LETTERS = 8192
_IDS_AT_ONCE = 256


def quoted(text: str) -> str:
    """A text as JSON; bytes that were no text are replaced."""
    try:
        return orjson.dumps(text).decode()
    except (TypeError, ValueError):
        return orjson.dumps(text.encode("utf-8", "replace").decode()).decode()


@lru_cache(maxsize=1024)
def agent_json(agent: str) -> str:
    return quoted(agent if len(agent) <= MAX_AGENT_LETTERS else agent[:MAX_AGENT_LETTERS] + "...TRUNCATED")


@lru_cache(maxsize=1024)
def _addresses_json(addresses: tuple[str, ...]) -> str:
    return orjson.dumps(addresses).decode()


def addresses_json(addresses: tuple[str, ...]) -> str:
    return _addresses_json(addresses)


# By the object itself: its fields are long to be compared, and those who call often are the same object each time.
_users: dict[int, tuple[User, str]] = {}
_REMEMBERED_USERS = 1024


def user_json(user: User) -> str:
    found = _users.get(id(user))
    if found is not None and found[0] is user:
        return found[1]
    if len(_users) >= _REMEMBERED_USERS:
        _users.clear()
    parts: dict[str, object] = {"username": user.name}
    if user.uid:
        parts["uid"] = user.uid
    if user.groups:
        parts["groups"] = user.groups
    if user.extra:
        parts["extra"] = dict(user.extra)
    text = orjson.dumps(parts).decode()
    _users[id(user)] = user, text
    return text


def object_json(ref: Ref, uid: str = "", resource_version: str = "") -> str:
    """What a request is about."""
    version, parts = ref.version, [f'"resource":{_plain(ref.resource.plural)}']
    if ref.namespace:
        parts.append(f'"namespace":{_plain(ref.namespace)}')
    if ref.name:
        parts.append(f'"name":{_plain(ref.name)}')
    if uid:
        parts.append(f'"uid":{_plain(uid)}')
    if version.group:
        parts.append(f'"apiGroup":"{version.group}"')
    parts.append(f'"apiVersion":"{version.version}"')
    if resource_version:
        parts.append(f'"resourceVersion":{_plain(resource_version)}')
    if ref.subresource:
        parts.append(f'"subresource":{_plain(ref.subresource)}')
    return "{" + ",".join(parts) + "}"


def _plain(text: str) -> str:
    return quoted(text)


_second, _second_text = 0, ""


def stamp(seconds: float) -> str:
    """A moment, in seconds since 1970, as Kubernetes writes it to the microsecond."""
    global _second, _second_text
    whole = int(seconds)
    if whole != _second:
        _second, _second_text = whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{_second_text}.{int((seconds - whole) * 1e6):06}Z"


_ids: list[str] = []


def new_id() -> str:
    """A random UUID; the system is asked for many at once."""
    if not _ids:
        found = os.urandom(16 * _IDS_AT_ONCE).hex()
        for at in range(0, len(found), 32):
            part = found[at : at + 32]
            _ids.append(f"{part[:8]}-{part[8:12]}-4{part[13:16]}-{'89ab'[int(part[16], 16) & 3]}{part[17:20]}-{part[20:]}")
    return _ids.pop()
