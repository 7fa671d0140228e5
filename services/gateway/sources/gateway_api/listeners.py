"""Listeners of a Gateway: what is served where, with which certificates, for whose routes, and what each is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.gateway.routing.actions import Action, Weighted
from services.gateway.routing.table import LAST, Match, Origin, Route, passed, scoped
from services.gateway.sources.compiled import Keypair
from services.gateway.sources.gateway_api.objects import (
    GATEWAY,
    GROUP,
    GRPC_ROUTE,
    HTTP_ROUTE,
    TLS_ROUTE,
    Condition,
    Facts,
    Json,
    number,
    origin_of,
    record,
    records,
    spec_of,
    text,
)
from services.gateway.sources.keypairs import BadKeypair, pem_of

NOT_FOUND = 404
HTTP, HTTPS, TLS = "HTTP", "HTTPS", "TLS"
KINDS = {HTTP: (HTTP_ROUTE, GRPC_ROUTE), HTTPS: (HTTP_ROUTE, GRPC_ROUTE), TLS: (TLS_ROUTE,)}


@dataclass(slots=True)
class Listener:
    """``kinds`` are those of routes that may attach. ``problems`` are conditions that are False, by their type."""

    gateway: Origin
    name: str
    port: int
    protocol: str
    hostname: str = ""
    kinds: tuple[str, ...] = ()
    allowed: Json = field(default_factory=dict)
    keypairs: tuple[Keypair, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    problems: dict[str, Condition] = field(default_factory=dict)
    # Hostnames of the same Gateway and port that are a part of this one's: their requests are another listener's.
    narrower: tuple[str, ...] = ()
    # Whether it is a part of another one's in turn.
    inner: bool = False
    withheld: bool = False
    # Which address it is reached at; 0: the one that is shared.
    scope: int = 0

    @property
    def entry(self) -> int:
        """What stands for its port in the routing table."""
        return scoped(self.port, self.scope)

    def leaves(self, name: str) -> bool:
        """Whether requests for a host of its routes are all another listener's."""
        return any(within(name, other) for other in self.narrower)

    @property
    def served(self) -> bool:
        """Whether its routes are in force."""
        return not self.withheld and "Accepted" not in self.problems and "Conflicted" not in self.problems and not self._without_certificate

    @property
    def _without_certificate(self) -> bool:
        found = self.problems.get("ResolvedRefs")
        return found is not None and found.reason != "InvalidRouteKinds"

    def admits(self, kind: str, namespace: str, facts: Facts) -> bool:
        """Whether a route of that kind and namespace may attach."""
        if kind not in self.kinds:
            return False
        namespaces = record(self.allowed, "namespaces")
        match text(namespaces, "from", "Same"):
            case "All":
                return True
            case "Selector":
                return selected(record(namespaces, "selector"), facts.namespaces.get(namespace, {}))
            case _:
                return namespace == self.gateway.namespace

    def conditions(self) -> list[Condition]:
        found = dict(self.problems)
        programmed = (
            Condition("Programmed", True, "Programmed")
            if self.served
            else Condition("Programmed", False, "Invalid", "see the other conditions")
        )
        good = (
            Condition("Accepted", True, "Accepted"),
            found.get("Programmed", programmed),
            Condition("ResolvedRefs", True, "ResolvedRefs"),
            Condition("Conflicted", False, "NoConflicts"),
        )
        return [found.get(each.type, each) for each in good]


def listeners_of(gateway: Any, facts: Facts, scope: int = 0) -> list[Listener]:
    """Of one Gateway, without regard to others. ``scope``: which address it has; 0: the one that is shared."""
    origin = origin_of(GATEWAY, gateway)
    frontend = record(record(spec_of(gateway), "tls"), "frontend")
    made = [_listener(origin, each, frontend, facts) for each in records(spec_of(gateway), "listeners")]
    for each in made:
        each.scope = scope
        others = [other for other in made if (other.port, other.protocol) == (each.port, each.protocol) and other.hostname != each.hostname]
        each.narrower = tuple(other.hostname for other in others if within(other.hostname, each.hostname))
        each.inner = any(within(each.hostname, other.hostname) for other in others)
    return made


def walls(listeners: Iterable[Listener]) -> list[Route]:
    """What becomes of requests that a listener's routes do not take: those of a wider one are not asked."""
    nobody = Action(targets=(Weighted(None, 1, NOT_FOUND),))
    found = [each for each in listeners if each.served and each.inner and each.protocol != TLS]
    return [
        Route(each.entry, each.hostname, Match(), nobody, each.gateway, f"listener {each.name}", LAST, each.hostname.startswith("*."))
        for each in found
    ]


def within(name: str, other: str) -> bool:
    """Whether a host or wildcard is a part of another; empty is any."""
    return not other or name == other or (other.startswith("*.") and name.removeprefix("*").endswith(other[1:]))


def _validates(frontend: Json, port: int) -> bool:
    """Whether clients are to show a certificate at a port."""
    own = next((each for each in records(frontend, "perPort") if number(each, "port") == port), None)
    return bool(record(record(own, "tls") if own is not None else record(frontend, "default"), "validation"))


def _listener(origin: Origin, spec: Json, frontend: Json, facts: Facts) -> Listener:
    made = Listener(origin, text(spec, "name"), number(spec, "port"), text(spec, "protocol"), text(spec, "hostname").lower())
    made.allowed = record(spec, "allowedRoutes")
    supported = KINDS.get(made.protocol, ())
    if not supported:
        words = f"{made.protocol} is not served: {', '.join(KINDS)} are"
        made.problems["Accepted"] = Condition("Accepted", False, "UnsupportedProtocol", words)
    wanted = [(text(each, "group", GROUP), text(each, "kind")) for each in records(made.allowed, "kinds")]
    made.kinds = tuple(kind for kind in supported if not wanted or (GROUP, kind) in wanted)
    if strangers := [kind for group, kind in wanted if group != GROUP or kind not in supported]:
        words = f"routes of {', '.join(strangers)} cannot attach to a listener of {made.protocol}"
        made.problems["ResolvedRefs"] = Condition("ResolvedRefs", False, "InvalidRouteKinds", words)
    tls = record(spec, "tls")
    if made.protocol == HTTPS and _validates(frontend, made.port):
        # Rather nobody is served than somebody who shows none.
        words = "spec.tls.frontend: certificates of clients cannot be asked for"
        made.problems["Accepted"] = Condition("Accepted", False, "UnsupportedValue", words)
    if made.protocol == HTTPS:
        _certificates(made, tls, facts)
    elif made.protocol == TLS and text(tls, "mode", "Terminate") != "Passthrough":
        words = "of TLS only the mode Passthrough is served; what is to be terminated is HTTPS"
        made.problems["Accepted"] = Condition("Accepted", False, "UnsupportedValue", words)
    return made


def _certificates(made: Listener, tls: Json, facts: Facts) -> None:
    if text(tls, "mode", "Terminate") != "Terminate":
        made.problems["Accepted"] = Condition("Accepted", False, "UnsupportedValue", "tls.mode: of HTTPS it is Terminate")
        return
    hosts = (made.hostname,) if made.hostname else ()
    found, read, bad = [], [], ""
    for each in records(tls, "certificateRefs"):
        namespace, name = text(each, "namespace", made.gateway.namespace), text(each, "name")
        if (text(each, "group"), text(each, "kind", "Secret")) != ("", "Secret"):
            bad = bad or f"InvalidCertificateRef: {text(each, 'kind')} {name} is no Secret"
            continue
        if not facts.permitted(made.gateway, "Secret", namespace, name):
            words = f"no ReferenceGrant of namespace {namespace} allows Gateways of {made.gateway.namespace} its Secret {name}"
            bad = bad or f"RefNotPermitted: {words}"
            continue
        read.append((namespace, name))
        secret = facts.secret(namespace, name)
        try:
            if secret is None:
                raise BadKeypair("is not there")
            pem_of(secret)
            found.append(Keypair(namespace, name, hosts))
        except BadKeypair as error:
            bad = bad or f"InvalidCertificateRef: the Secret {namespace}/{name} {error}"
    if not found and not bad:
        bad = "InvalidCertificateRef: tls.certificateRefs: name a Secret with a certificate"
    made.keypairs, made.secrets = tuple(found), tuple(read)
    if bad:
        reason, _, words = bad.partition(": ")
        made.problems["ResolvedRefs"] = Condition("ResolvedRefs", False, reason, words)


def settle(gateways: Sequence[tuple[Any, list[Listener]]], closed: dict[int, str]) -> dict[int, str]:
    """Of several that want one port of an address with different protocols the older Gateway has it; of one Gateway none. ``closed`` are
    ports that cannot be opened. Returns the protocol of each port; that of TLS that is passed on, which HTTPS can share one with, by
    ``passed``."""
    protocols: dict[int, str] = {}
    ages = sorted(
        gateways, key=lambda pair: (pair[0].metadata.creation_timestamp.seconds, pair[0].metadata.namespace, pair[0].metadata.name)
    )
    for _, listeners in ages:
        _twice(listeners)
        for each in listeners:
            if "Accepted" in each.problems or "Conflicted" in each.problems:
                continue
            others = [found for key in (each.entry, passed(each.entry)) if (found := protocols.get(key)) not in (None, each.protocol)]
            if others and {each.protocol, *others} != {HTTPS, TLS}:
                words = f"port {each.port} is one of {others[0]} already"
                each.problems["Conflicted"] = Condition("Conflicted", True, "ProtocolConflict", words)
                continue
            protocols[passed(each.entry) if each.protocol == TLS else each.entry] = each.protocol
            if each.entry in closed:
                each.problems["Programmed"] = Condition("Programmed", False, "Invalid", closed[each.entry])
    return protocols


def _twice(listeners: Iterable[Listener]) -> None:
    """The same port and host in one Gateway is a conflict of all who want it."""
    seen: dict[tuple[int, str], list[Listener]] = {}
    for each in listeners:
        seen.setdefault((each.port, each.hostname), []).append(each)
    for several in seen.values():
        for each in several if len(several) > 1 else ():
            words = f"several listeners want port {each.port} and {each.hostname or 'any host'}"
            each.problems["Conflicted"] = Condition("Conflicted", True, "HostnameConflict", words)


def selected(selector: Json, labels: Any) -> bool:
    """By a selector of labels; one that says nothing takes all."""
    if any(labels.get(key) != value for key, value in record(selector, "matchLabels").items()):
        return False
    return all(_meets(each, labels) for each in records(selector, "matchExpressions"))


def _meets(expression: Json, labels: Any) -> bool:
    key, values = text(expression, "key"), expression.get("values") or ()
    match text(expression, "operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
