"""Routes of HTTPRoutes, GRPCRoutes and TLSRoutes, and what each is told of its parents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from services.gateway.haproxy.words import BadWord, expression, host, literal
from services.gateway.routing.actions import HTTP, HTTP2, TCP, Action, Options, Target, Weighted
from services.gateway.routing.conditions import Condition as Demand
from services.gateway.routing.table import Match, Origin, PathKind, Route, passed
from services.gateway.sources import backends
from services.gateway.sources.compiled import Compiled
from services.gateway.sources.gateway_api.attach import Attachment, ListenersOf, attach
from services.gateway.sources.gateway_api.filters import Scene, Unsupported, filtered, seconds
from services.gateway.sources.gateway_api.listeners import HTTPS, TLS, Listener
from services.gateway.sources.gateway_api.objects import (
    GRPC_ROUTE,
    TLS_ROUTE,
    Condition,
    Facts,
    Json,
    number,
    record,
    records,
    spec_of,
    text,
)

LISTS = {"Exact": PathKind.EXACT, "PathPrefix": PathKind.PREFIX, "RegularExpression": PathKind.REGEX}
# What a share that leads nowhere is answered. Clients of gRPC take 503 for UNAVAILABLE.
NOWHERE, NOWHERE_GRPC = 500, 503
# A timeout of 0: a backend may be silent as long as it likes.
NEVER_SECONDS = 86_400.0


@dataclass(slots=True)
class Told(Compiled):
    """Of a route, with the conditions for each of its parents, and the listeners it is attached to."""

    parents: list[tuple[Json, list[Condition]]] = field(default_factory=list)
    attached: list[Listener] = field(default_factory=list)


def compile_route(origin: Origin, route: Any, listeners_of: ListenersOf, facts: Facts) -> Told:
    told = Told()
    attachments = list(attach(origin, route, listeners_of, facts))
    if not attachments:
        return told
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    unsupported = ""
    for attachment in attachments:
        told.attached += list({id(listener): listener for listener, _ in attachment.places}.values())
        maker = _Maker(origin, route, facts, told)
        try:
            told.routes += maker.routes(attachment)
        except (Unsupported, BadWord) as error:
            unsupported = str(error)
        resolved = maker.resolved or resolved
    if unsupported:
        told.routes.clear()
    for attachment in attachments:
        accepted = attachment.accepted
        if unsupported and accepted.status:
            accepted = Condition("Accepted", False, "UnsupportedValue", unsupported)
        elif accepted.status:
            accepted = replace(accepted, message=undone(spec_of(route)))
        told.parents.append((attachment.reference, [accepted, resolved]))
    # Two parents may be the same listener.
    told.routes = list(dict.fromkeys(told.routes))
    return told


class _Maker:
    def __init__(self, origin: Origin, route: Any, facts: Facts, told: Told) -> None:
        self._origin, self._facts, self._told = origin, facts, told
        self._spec = spec_of(route)
        self._since = route.metadata.creation_timestamp.seconds
        self.resolved: Condition | None = None

    def routes(self, attachment: Attachment) -> Iterator[Route]:
        """References are looked at whatever becomes of the route."""
        rules = list(records(self._spec, "rules"))
        if not attachment.places:
            for rule in rules:
                self._shares(rule)
            return
        for listener, name in attachment.places:
            if name:
                host(name)
            port = passed(listener.entry) if listener.protocol == TLS else listener.entry
            for index, rule in enumerate(rules):
                for match in self._matches(rule):
                    action = self._action(rule, listener, match)
                    if listener.served and not listener.leaves(name):
                        yield Route(
                            port, name, match, action, self._origin, f"spec.rules[{index}]", self._since,
                            name.startswith("*."), index
                        )  # fmt: skip

    def _matches(self, rule: Json) -> list[Match]:
        if self._origin.kind == TLS_ROUTE:
            return [Match()]
        make = _grpc_match if self._origin.kind == GRPC_ROUTE else _http_match
        return [make(each) for each in records(rule, "matches")] or [Match()]

    def _action(self, rule: Json, listener: Listener, match: Match) -> Action:
        limit = _limit(record(rule, "timeouts"))
        scheme = "https" if listener.protocol == HTTPS else "http"
        scene = Scene(scheme, listener.port, match)
        filters = list(records(rule, "filters"))

        def made(shares: tuple[Weighted, ...], protocol: str, inner: Iterable[Json]) -> Action:
            action = Action(targets=shares, options=Options(protocol=protocol, timeout_seconds=limit))
            return filtered(action, [*filters, *inner], scene, self._mirrored)

        parts = [(share, self._protocol(share), tuple(records(reference, "filters"))) for share, reference in self._shares(rule)]
        # For those that lead nowhere it is the same how.
        kinds = [(protocol, inner) for share, protocol, inner in parts if share.weight and share.target is not None]
        kinds = kinds or [(self._protocol(Weighted(None)), ())]
        if all(kind == kinds[0] for kind in kinds):
            return made(tuple(share for share, _, _ in parts), *kinds[0])
        choices = ((share.weight, made((share,), protocol, inner)) for share, protocol, inner in parts if share.weight)
        return Action(choices=tuple(choices))

    def _shares(self, rule: Json) -> list[tuple[Weighted, Json]]:
        """With the reference of each."""
        found = [(self._share(reference), reference) for reference in records(rule, "backendRefs")]
        if not found and self._origin.kind != TLS_ROUTE:
            # With a redirect nobody asks for it.
            return [(self._lost(1), {})]
        return found

    def _protocol(self, share: Weighted) -> str:
        """How its pods are spoken to."""
        if self._origin.kind == TLS_ROUTE:
            return TCP
        usual = HTTP2 if self._origin.kind == GRPC_ROUTE else HTTP
        if share.target is None:
            return usual
        return backends.protocol_of(self._facts.service(share.target.namespace, share.target.service), share.target) or usual

    def _mirrored(self, reference: Json) -> tuple[Target, str] | None:
        """Where copies go."""
        share = self._share(reference)
        return (share.target, self._protocol(share)) if share.target is not None else None

    def _share(self, reference: Json) -> Weighted:
        weight = number(reference, "weight", 1)
        namespace, name = text(reference, "namespace", self._origin.namespace), text(reference, "name")
        target = Target(namespace, name, str(number(reference, "port")))
        kind = text(reference, "group"), text(reference, "kind", "Service")
        if kind != ("", "Service"):
            return self._nowhere(weight, "InvalidKind", f"{kind[1]} {name} is no Service")
        if not self._facts.permitted(self._origin, "Service", namespace, name):
            words = f"no ReferenceGrant of namespace {namespace} allows {self._origin.kind}s of {self._origin.namespace} its Service {name}"
            return self._nowhere(weight, "RefNotPermitted", words)
        self._told.services.add((namespace, name))
        if words := backends.problem_of(self._facts.service(namespace, name), target):
            return self._nowhere(weight, "BackendNotFound", words)
        return Weighted(target, weight)

    def _nowhere(self, weight: int, reason: str, words: str) -> Weighted:
        self.resolved = self.resolved or Condition("ResolvedRefs", False, reason, words)
        return self._lost(weight)

    def _lost(self, weight: int) -> Weighted:
        return Weighted(None, weight, NOWHERE_GRPC if self._origin.kind == GRPC_ROUTE else NOWHERE)


def _limit(timeouts: Json) -> float:
    """The longest silence of a backend, seconds; 0: nothing is said of it."""
    limits = [seconds(text(timeouts, name)) for name in ("request", "backendRequest") if text(timeouts, name)]
    return min((each for each in limits if each), default=NEVER_SECONDS if limits else 0.0)


def undone(spec: Json) -> str:
    """Which fields of a route say what nobody here does, in words; empty: none. They are of channels other than the standard one."""
    found = ["spec.useDefaultGateways"] if spec.get("useDefaultGateways") else []
    for index, rule in enumerate(records(spec, "rules")):
        found += [f"spec.rules[{index}].{name}" for name in ("retry", "sessionPersistence") if rule.get(name)]
    return f"served, but nothing is done by {', '.join(found)}" if found else ""


def _http_match(spec: Json) -> Match:
    path = record(spec, "path")
    kind, value = LISTS.get(text(path, "type", "PathPrefix"), PathKind.PREFIX), text(path, "value", "/")
    if kind is PathKind.REGEX:
        expression(value)
    return Match(
        kind,
        value.rstrip("/") if kind is PathKind.PREFIX else value,
        text(spec, "method"),
        _demands(spec, "headers"),
        _demands(spec, "queryParams"),
    )


def _grpc_match(spec: Json) -> Match:
    """A method is the path of its request."""
    wanted = record(spec, "method")
    service, method = text(wanted, "service"), text(wanted, "method")
    headers = _demands(spec, "headers")
    if text(wanted, "type", "Exact") == "RegularExpression":
        said = f"/{service or '[^/]+'}/{method or '[^/]+'}"
        return Match(PathKind.REGEX, f"^{expression(said)}$", headers=headers)
    if service and method:
        return Match(PathKind.EXACT, f"/{service}/{method}", headers=headers)
    if method:
        return Match(PathKind.REGEX, f"^/[^/]+/{literal(method)}$", headers=headers)
    return Match(PathKind.PREFIX, f"/{service}" if service else "", headers=headers)


def _demands(spec: Json, name: str) -> tuple[Demand, ...]:
    """Of several for one name, whatever its case, the first counts."""
    found: dict[str, Demand] = {}
    for each in records(spec, name):
        regex = text(each, "type", "Exact") == "RegularExpression"
        value = expression(text(each, "value")) if regex else text(each, "value")
        key = text(each, "name").lower() if name == "headers" else text(each, "name")
        found.setdefault(key, Demand(text(each, "name"), value, regex))
    return tuple(sorted(found.values()))
