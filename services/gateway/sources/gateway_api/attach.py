"""Which listeners a route attaches to, and for which hosts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.gateway.routing.table import Origin
from services.gateway.sources.gateway_api.listeners import Listener, within
from services.gateway.sources.gateway_api.objects import GATEWAY, GROUP, Condition, Facts, Json, number, records, spec_of, text, texts


@dataclass(slots=True)
class Attachment:
    """To one parent: the listeners with the hosts of each (empty: any), and why to none."""

    reference: Json
    places: list[tuple[Listener, str]] = field(default_factory=list)
    accepted: Condition = field(default_factory=lambda: Condition("Accepted", True, "Accepted"))


ListenersOf = Callable[[str, str], Sequence[Listener] | None]


def attach(origin: Origin, route: Any, listeners_of: ListenersOf, facts: Facts) -> Iterator[Attachment]:
    """For each parent that is a Gateway of ours. ``listeners_of`` gives those of a Gateway; None where it is not ours."""
    spec = spec_of(route)
    hostnames = [name.lower() for name in texts(spec, "hostnames")]
    for reference in records(spec, "parentRefs"):
        if (text(reference, "group", GROUP), text(reference, "kind", GATEWAY)) != (GROUP, GATEWAY):
            continue
        listeners = listeners_of(text(reference, "namespace", origin.namespace), text(reference, "name"))
        if listeners is not None:
            yield _attached(origin, reference, listeners, hostnames, facts)


def _attached(origin: Origin, reference: Json, listeners: Iterable[Listener], hostnames: Sequence[str], facts: Facts) -> Attachment:
    made = Attachment(reference)
    section, port = text(reference, "sectionName"), number(reference, "port")
    meant = [each for each in listeners if section in ("", each.name) and port in (0, each.port)]
    if not meant:
        made.accepted = Condition("Accepted", False, "NoMatchingParent", "the Gateway has no listener of that name and port")
        return made
    allowed = [each for each in meant if each.admits(origin.kind, origin.namespace, facts)]
    if not allowed:
        words = f"no listener lets {origin.kind}s of namespace {origin.namespace} attach"
        made.accepted = Condition("Accepted", False, "NotAllowedByListeners", words)
        return made
    for listener in allowed:
        made.places += [(listener, name) for name in hosts_of(listener.hostname, hostnames)]
    if not made.places:
        words = "none of its hostnames is one of a listener"
        made.accepted = Condition("Accepted", False, "NoMatchingListenerHostname", words)
    return made


def hosts_of(listener: str, hostnames: Sequence[str]) -> list[str]:
    """What both mean: of a name and a wildcard the name, of two wildcards the narrower."""
    if not hostnames:
        return [listener]
    found = [common for name in hostnames if (common := _common(listener, name)) is not None]
    return list(dict.fromkeys(found))


def _common(one: str, other: str) -> str | None:
    if within(other, one):
        return other
    return one if other and within(one, other) else None
