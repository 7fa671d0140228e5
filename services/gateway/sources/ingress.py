"""Routes of an Ingress. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from knarr.api.networking.v1 import networking_pb2 as networking
from services.gateway.haproxy.words import BadWord, expression, host
from services.gateway.routing.actions import Action, Options, Redirect, Rewrite, Target, Weighted
from services.gateway.routing.table import LAST, Match, Origin, PathKind, Route
from services.gateway.sources.annotations import SecretOf, Wishes, read
from services.gateway.sources.compiled import Compiled, Keypair

HTTP_PORT, HTTPS_PORT = 80, 443
KINDS = {"Exact": PathKind.EXACT, "Prefix": PathKind.PREFIX, "ImplementationSpecific": PathKind.PREFIX}
# Nobody is in it.
NOBODY = "255.255.255.255/32"


def origin_of(ingress: networking.Ingress) -> Origin:
    return Origin("Ingress", ingress.metadata.namespace, ingress.metadata.name)


def compile_ingress(ingress: networking.Ingress, secret_of: SecretOf, https_port: int = HTTPS_PORT) -> Compiled:
    """Its routes on both ports. ``https_port`` is where clients reach the one for TLS."""
    wishes = read(ingress.metadata.annotations, ingress.metadata.namespace, secret_of)
    found = Compiled(keypairs=list(_keypairs(ingress)), problems=wishes.problems)
    found.secrets = {*wishes.secrets, *((pair.namespace, pair.secret) for pair in found.keypairs)}
    secured = {name for pair in ingress.spec.tls for name in pair.hosts}
    for_all = any(not pair.hosts for pair in ingress.spec.tls)
    for position, (name, place, match, action) in enumerate(_wanted(ingress, wishes, found)):
        # What a default backend takes is what nobody else does.
        since = ingress.metadata.creation_timestamp.seconds + (LAST if place == "spec.defaultBackend" else 0)
        made = Route(HTTPS_PORT, name, match, action, origin_of(ingress), place, since, position=position, canary=wishes.canary)
        # What besides is done to what a canary gets is the other's to say.
        redirected = wishes.canary is None and (wishes.force_ssl_redirect or (wishes.ssl_redirect and (for_all or name in secured)))
        to_tls = Action(redirect=Redirect(308, "https", "", https_port))
        found.routes += [replace(made, port=HTTP_PORT, action=to_tls if redirected else action), made]
        found.services |= {(target.namespace, target.service) for target in action.leads_to}
    return found


def _keypairs(ingress: networking.Ingress) -> Iterator[Keypair]:
    for pair in ingress.spec.tls:
        if pair.secret_name:
            hosts = tuple(pair.hosts) or tuple(dict.fromkeys(rule.host for rule in ingress.spec.rules if rule.host))
            yield Keypair(ingress.metadata.namespace, pair.secret_name, hosts)


def _wanted(ingress: networking.Ingress, wishes: Wishes, found: Compiled) -> Iterator[tuple[str, str, Match, Action]]:
    """Host, place, match and action of each path that can be served."""
    for index, rule in enumerate(ingress.spec.rules):
        for number, path in enumerate(rule.ingress_rule_value.http.paths):
            place = f"spec.rules[{index}].http.paths[{number}]"
            try:
                if rule.host:
                    host(rule.host)
                match, rewrite = _match(path, wishes)
                yield rule.host, place, match, _action(ingress, path.backend, wishes, rewrite)
            except BadWord as error:
                found.problems.append(f"{place} is left out: {error}")
    if ingress.spec.HasField("default_backend"):
        try:
            yield "", "spec.defaultBackend", Match(), _action(ingress, ingress.spec.default_backend, wishes, None)
        except BadWord as error:
            found.problems.append(f"spec.defaultBackend is left out: {error}")


def _match(path: networking.HTTPIngressPath, wishes: Wishes) -> tuple[Match, Rewrite | None]:
    target = wishes.rewrite_target
    grouped = wishes.use_regex or "$" in target
    if grouped and path.path_type == "ImplementationSpecific":
        said = expression(path.path or "/")
        match = Match(PathKind.REGEX, said, ignore_case=True)
        rewrite = Rewrite(pattern=f"(?i)^{said.removeprefix('^')}", replacement=target.replace("$", "\\")) if target else None
        return match, rewrite
    if "$" in target:
        raise BadWord("rewrite-target refers to groups of an expression, which a path of pathType ImplementationSpecific has")
    kind = KINDS.get(path.path_type, PathKind.PREFIX)
    text = path.path or "/"
    match = Match(kind, text if kind is PathKind.EXACT else text.rstrip("/"))
    return match, Rewrite(path=target) if target else None


def _action(ingress: networking.Ingress, backend: networking.IngressBackend, wishes: Wishes, rewrite: Rewrite | None) -> Action:
    if not backend.HasField("service"):
        raise BadWord("its backend is no Service, and of other resources none is known here")
    service = backend.service
    target = Target(ingress.metadata.namespace, service.name, service.port.name or str(service.port.number))
    options: Options = wishes.options
    if wishes.closed:
        options = replace(options, allowed=(NOBODY,), login=None)
    return Action(targets=(Weighted(target),), rewrite=rewrite, options=options)
