"""Parts of an event as JSON. Most requests are of the same callers, agents and addresses: their parts are written once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import orjson

from knarr.service.authentication import User
from services.apiserver.results import Ref

# As Kubernetes cuts it.
MAX_AGENT_LETTERS = 1024
MAX_URI_LETTERS = 8192
# IDs that are counted up from one that was drawn.
_IDS_AT_ONCE = 65_536
SECOND_NS = 1_000_000_000
# Of nanoseconds since 1970, for three centuries, and where in them microseconds stand.
DIGITS, MICROS = 19, slice(10, 16)
# Of what is written once and used again, so much of each kind is kept.
REMEMBERED = 1024


def quoted(text: str) -> str:
    """A text as JSON; bytes that were no text are replaced."""
    try:
        return orjson.dumps(text).decode()
    except (TypeError, ValueError):
        return orjson.dumps(text.encode("utf-8", "replace").decode()).decode()


def shown_agent(agent: str) -> str:
    """What a client calls itself, as much of it as is kept."""
    return agent if len(agent) <= MAX_AGENT_LETTERS else agent[:MAX_AGENT_LETTERS] + "...TRUNCATED"


# By the user himself: his fields are long to be compared, and those who call often are the same object each time.
_callers: dict[tuple[int, tuple[str, ...], str], tuple[User, str]] = {}


def caller_json(user: User | None, addresses: tuple[str, ...], agent: str) -> str:
    """Who asks, whom he plays, from where and with what: ``"user":…,"sourceIPs":…,`` and so on."""
    agent = shown_agent(agent)
    if user is None or user.impersonator is not None:
        return _caller_json(user, addresses, agent)
    key = id(user), addresses, agent
    found = _callers.get(key)
    if found is not None and found[0] is user:
        return found[1]
    if len(_callers) >= REMEMBERED:
        _callers.clear()
    text = _caller_json(user, addresses, agent)
    _callers[key] = user, text
    return text


def _caller_json(user: User | None, addresses: tuple[str, ...], agent: str) -> str:
    real = user if user is None or user.impersonator is None else user.impersonator
    played = f'"impersonatedUser":{_user_json(user)},' if user is not None and real is not user else ""
    if user is not None and user.constraint:
        played += f'"authenticationMetadata":{{"impersonationConstraint":{quoted(f"impersonate:{user.constraint}")}}},'
    named = f'"userAgent":{quoted(agent)},' if agent else ""
    return f'"user":{_user_json(real) if real is not None else "{}"},{played}"sourceIPs":{orjson.dumps(addresses).decode()},{named}'


def _user_json(user: User) -> str:
    parts: dict[str, object] = {"username": user.name}
    if user.uid:
        parts["uid"] = user.uid
    if user.groups:
        parts["groups"] = user.groups
    if user.extra:
        parts["extra"] = dict(user.extra)
    return orjson.dumps(parts).decode()


def asked_json(uri: str, verb: str) -> str:
    """What is asked for: ``"requestURI":…,"verb":…,``."""
    return f'"requestURI":{quoted(uri)},"verb":{quoted(verb)},'


def object_parts(ref: Ref) -> tuple[bytes, bytes]:
    """What a request is about: ``"objectRef":…,``, up to where the name stands and from there on, so that one can be put there."""
    version, first = ref.version, [f'"resource":{quoted(ref.resource.plural)}']
    if ref.place:
        first.append(f'"namespace":{quoted(ref.place)}')
    if ref.name:
        first.append(f'"name":{quoted(ref.name)}')
    last = [f',"apiGroup":"{version.group}"'] if version.group else []
    last.append(f',"apiVersion":"{version.version}"')
    if ref.subresource:
        last.append(f',"subresource":{quoted(ref.subresource)}')
    return f'"objectRef":{{{",".join(first)}'.encode(), f"{''.join(last)}}},".encode()


class _Second:
    """What stands before the parts of moments that are of one second."""

    def __init__(self, seconds: int) -> None:
        self.begin_ns, self.end_ns = seconds * SECOND_NS, (seconds + 1) * SECOND_NS
        shown = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
        self.received, self.told = f'"requestReceivedTimestamp":"{shown}', f'Z","stageTimestamp":"{shown}'


_second = _Second(0)


def stamps(received_ns: int, told_ns: int) -> bytes:
    """Two moments, in nanoseconds since 1970, as Kubernetes writes them to the microsecond: when a request came, and when this is told.

    Those of one second, as most are, and of the same as the ones before are cut out of their digits: to reckon takes half as long again.
    """
    global _second
    second = _second
    if not second.begin_ns <= received_ns <= told_ns < second.end_ns:
        begin, end = received_ns // SECOND_NS, told_ns // SECOND_NS
        second = _Second(begin)
        if begin != end or len(str(received_ns)) != DIGITS:
            return f'{second.received}{_micros(received_ns)}{_Second(end).told}{_micros(told_ns)}Z"'.encode()
        _second = second
    return f'{second.received}{str(received_ns)[MICROS]}{second.told}{str(told_ns)[MICROS]}Z"'.encode()


def _micros(moment_ns: int) -> str:
    return f"{moment_ns % SECOND_NS // 1000:06}"


def _ids() -> Iterator[bytes]:
    """UUIDs, random at first and every 65,536 of them, which are counted up: nobody is to guess them, nobody is hindered from it either."""
    while True:
        drawn = uuid4().hex
        begin = f"{drawn[:8]}-{drawn[8:12]}-{drawn[12:16]}-{drawn[16:20]}-{drawn[20:28]}".encode()
        for number in range(_IDS_AT_ONCE):
            yield b"%b%04x" % (begin, number)


# A random UUID, or the next one.
new_id = _ids().__next__
