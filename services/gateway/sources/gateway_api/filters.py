"""Filters of rules, as what is done to a request. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from services.gateway.routing.actions import Action, Cors, Headers, Mirror, Redirect, Rewrite, Target
from services.gateway.routing.table import Match, PathKind
from services.gateway.sources.gateway_api.objects import Json, number, record, records, text, texts

PART = re.compile(r"(\d+)(h|ms|m|s)")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Unsupported(ValueError):
    """In words for the user."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a filter works: how a listener is reached, and what the match took."""

    scheme: str
    port: int
    match: Match


# The Service that a reference leads to and how it is spoken to; None where it leads nowhere.
Resolve = Callable[[Json], tuple[Target, str] | None]


def filtered(action: Action, filters: Iterable[Json], scene: Scene, resolve: Resolve) -> Action:
    """The action with what filters add. Unsupported names what cannot be done."""
    for each in filters:
        kind = text(each, "type")
        match kind:
            case "RequestHeaderModifier":
                action = replace(action, request=_headers(action.request, record(each, "requestHeaderModifier")))
            case "ResponseHeaderModifier":
                action = replace(action, response=_headers(action.response, record(each, "responseHeaderModifier")))
            case "RequestRedirect":
                action = replace(action, redirect=_redirect(record(each, "requestRedirect"), scene))
            case "URLRewrite":
                spec = record(each, "urlRewrite")
                action = replace(action, rewrite=_rewrite(record(spec, "path"), text(spec, "hostname"), scene))
            case "CORS":
                action = replace(action, options=replace(action.options, cors=_cors(record(each, "cors"))))
            case "RequestMirror":
                action = replace(action, mirrors=(*action.mirrors, *_mirrors(record(each, "requestMirror"), resolve)))
            case _:
                raise Unsupported(f"the filter {kind} is not done")
    return action


def _mirrors(spec: Json, resolve: Resolve) -> Iterator[Mirror]:
    found, fraction = resolve(record(spec, "backendRef")), record(spec, "fraction")
    if fraction:
        part, whole = number(fraction, "numerator"), number(fraction, "denominator", 100)
    else:
        part, whole = number(spec, "percent", 100), 100
    if whole < 1 or part < 0:
        raise Unsupported("requestMirror: a part of requests is a numerator from 0, and a denominator from 1")
    if found is not None and part:
        target, protocol = found
        yield Mirror(target, protocol, part, whole)


def _headers(before: Headers, spec: Json) -> Headers:
    def pairs(name: str) -> tuple[tuple[str, str], ...]:
        return tuple((text(each, "name"), text(each, "value")) for each in records(spec, name))

    return Headers((*before.set, *pairs("set")), (*before.add, *pairs("add")), (*before.remove, *texts(spec, "remove")))


def _redirect(spec: Json, scene: Scene) -> Redirect:
    scheme = text(spec, "scheme") or scene.scheme
    port = number(spec, "port") or (0 if text(spec, "scheme") else scene.port)
    rewrite = _rewrite(record(spec, "path"), "", scene) if record(spec, "path") else Rewrite()
    return Redirect(number(spec, "statusCode", 302), scheme, text(spec, "hostname"), port, rewrite)


def _rewrite(path: Json, hostname: str, scene: Scene) -> Rewrite:
    match text(path, "type"):
        case "ReplaceFullPath":
            return Rewrite(host=hostname, path=text(path, "replaceFullPath") or "/")
        case "ReplacePrefixMatch":
            if scene.match.kind is not PathKind.PREFIX:
                raise Unsupported("ReplacePrefixMatch needs a match of type PathPrefix")
            return Rewrite(host=hostname, prefix=scene.match.path, replacement=text(path, "replacePrefixMatch"))
        case _:
            return Rewrite(host=hostname)


def _cors(spec: Json) -> Cors:
    origins = texts(spec, "allowOrigins") or ("*",)
    if bad := [each for each in origins if each.count("*") > 1]:
        raise Unsupported(f"cors.allowOrigins: {bad[0]!r} has more than one wildcard")
    return Cors(
        origins,
        ", ".join(texts(spec, "allowMethods")) or "GET, HEAD, POST",
        ", ".join(texts(spec, "allowHeaders")),
        ", ".join(texts(spec, "exposeHeaders")),
        bool(spec.get("allowCredentials")),
        number(spec, "maxAge", 5),
    )


def seconds(text_of: str) -> float:
    """Of a duration like ``1m30s``."""
    return sum(int(amount) * UNITS[unit] for amount, unit in PART.findall(text_of))
