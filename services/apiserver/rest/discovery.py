"""Discovery: what is served, in the aggregated and the legacy form, all derived from the registry."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson
from google.protobuf.message import Message

from knarr.api.apidiscovery.v2 import apidiscovery_pb2 as apidiscovery
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.envelope import wrap
from knarr.machinery.resources import Registry, Subresource, Version, version_priority
from knarr.service.accepting import clauses
from services.apiserver.aggregation.extension import Extension
from services.apiserver.aggregation.priorities import CUSTOM, Priority, built_in
from services.apiserver.rest import negotiation
from services.apiserver.rest.objects import to_yaml
from services.apiserver.rest.response import REVALIDATED, Headers, Response

GROUP = "apidiscovery.k8s.io"
AGGREGATED_VERSIONS = ("v2", "v2beta1")
LIST_KIND = "APIGroupDiscoveryList"
# The messages of the documents; v2beta1 is written like v2.
MESSAGES: dict[str, type[Message]] = {
    "APIVersions": meta.APIVersions,
    "APIGroupList": meta.APIGroupList,
    "APIGroup": meta.APIGroup,
    "APIResourceList": meta.APIResourceList,
    LIST_KIND: apidiscovery.APIGroupDiscoveryList,
}


# What serves a group version: resources of this server's own, or another server.
Served = list[Version] | Extension


class Form(NamedTuple):
    """How discovery is asked for: the media type, and the version of the aggregated form or nothing."""

    media_type: str
    aggregated: str = ""

    @property
    def content_type(self) -> str:
        return f"{self.media_type};g={GROUP};v={self.aggregated};as={LIST_KIND}" if self.aggregated else self.media_type


class Discovery:
    """Answers for /api, /apis and the group versions below them that are this server's own; each is made once in each form."""

    def __init__(self, registry: Registry, extensions: Iterable[Extension] = ()) -> None:
        """``extensions`` are group versions that others serve, which hide those of ``registry``."""
        elsewhere = {(extension.group, extension.version): extension for extension in extensions}
        here: dict[tuple[str, str], list[Version]] = {}
        for served in registry.versions:
            if (served.group, served.version) not in elsewhere:
                here.setdefault((served.group, served.version), []).append(served)
        self._groups = _in_order([*here.items(), *elsewhere.items()])
        self._made: dict[tuple[tuple[str, ...], Form], tuple[bytes, str]] = {}

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        groups = [f"/apis/{group}" for group in self._groups if group]
        versions = [f"/apis/{group}/{version}" if group else f"/api/{version}" for group in self._groups for version in self._groups[group]]
        return ["/api", "/apis", *groups, *versions]

    def answer(self, path: str, accept: bytes, if_none_match: bytes = b"") -> Response | None:
        """None for a path that is none of discovery's. Raises NotAcceptable."""
        parts = tuple(path.strip("/").split("/"))
        form = aggregated_form(accept.decode("latin-1")) if len(parts) == 1 else None
        build = self._builder(parts, form.aggregated if form is not None else "")
        if build is None:
            return None
        form = form or Form(negotiation.wanted(accept).media_type)
        body, etag = self._make(parts, form, build)
        if not form.aggregated:
            return Response(body, content_type=form.content_type)
        headers: Headers = [(b"etag", etag.encode()), (b"vary", b"Accept")]
        if negotiation.knows(etag, if_none_match):
            return Response(b"", 304, form.content_type, headers, REVALIDATED)
        return Response(body, 200, form.content_type, headers, REVALIDATED)

    def _make(self, parts: tuple[str, ...], form: Form, build: Callable[[], dict[str, Any]]) -> tuple[bytes, str]:
        """A document and its ETag; remembers what there is, and nothing of what else is asked for."""
        found = self._made.get((parts, form))
        if found is None:
            body = _written(build(), form.media_type)
            etag = f'"{hashlib.sha512(body).hexdigest().upper()}"' if form.aggregated else ""
            found = self._made[parts, form] = (body, etag)
        return found

    def _builder(self, parts: tuple[str, ...], aggregated: str) -> Callable[[], dict[str, Any]] | None:
        """What makes a document; None where there is none."""
        match parts:
            case ("api",) | ("apis",) if aggregated:
                return lambda: self._aggregated(parts[0], aggregated)
            case ("api",):
                return lambda: _API_VERSIONS
            case ("apis",):
                groups = [name for name in self._groups if name]
                return lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(name) for name in groups]}
            case ("apis", group) if group and group in self._groups:
                return lambda: {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ("api", version):
                return self._resources("", version)
            case ("apis", group, version) if group:
                return self._resources(group, version)
        return None

    def _aggregated(self, root: str, version: str) -> dict[str, Any]:
        names = [name for name in self._groups if (root == "api") == (name == "")]
        items = [
            {
                "metadata": {"name": name, "creationTimestamp": None},
                "versions": [_version(version, found) for version, found in self._groups[name].items()],
            }
            for name in names
        ]
        return {"kind": LIST_KIND, "apiVersion": f"{GROUP}/{version}", "metadata": {}, "items": items}

    def _group(self, name: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in self._groups[name]]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Callable[[], dict[str, Any]] | None:
        found = self._groups.get(group, {}).get(version)
        if found is None or isinstance(found, Extension):
            return None  # or its own server's answer
        group_version = f"{group}/{version}" if group else version
        resources = [entry for served in sorted(found, key=_plural) for entry in _legacy(served)]
        return lambda: {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


_API_VERSIONS: dict[str, Any] = {
    "kind": "APIVersions",
    "versions": ["v1"],
    "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
}


def _written(document: dict[str, Any], media_type: str) -> bytes:
    if media_type == negotiation.PROTOBUF:
        kind = document["kind"]
        return wrap(document.get("apiVersion", "v1"), kind, codec.from_json(MESSAGES[kind], document).message.SerializeToString())
    text = orjson.dumps(document)
    return to_yaml(text) if media_type == negotiation.YAML else text


def aggregated_form(accept: str) -> Form | None:
    """The form in which the client asks for aggregated discovery, where it asks for that first."""
    for clause in clauses(accept):
        media_type = negotiation.JSON if clause.media_type in ("*/*", "application/*") else clause.media_type
        if media_type not in (negotiation.JSON, negotiation.PROTOBUF):
            continue
        parameters = clause.parameters
        if not parameters.get("as"):
            return None
        if parameters["as"] == LIST_KIND and parameters.get("g") == GROUP and parameters.get("v") in AGGREGATED_VERSIONS:
            return Form(media_type, parameters["v"])
    return None


def _plural(served: Version) -> str:
    return served.resource.plural


def _in_order(found: list[tuple[tuple[str, str], Served]]) -> dict[str, dict[str, Served]]:
    """By group and version, those first that clients are to prefer: they take the first group that has a name."""
    priorities = {key: _priority(*key, served) for key, served in found}
    groups: dict[str, int] = {}
    for (group, _), priority in priorities.items():
        groups[group] = max(groups.get(group, 0), priority.group)

    def order(item: tuple[tuple[str, str], Served]) -> tuple[object, ...]:
        group, version = item[0]
        return -groups[group], group, -priorities[item[0]].version, version_priority(version)

    made: dict[str, dict[str, Served]] = {}
    for (group, version), served in sorted(found, key=order):
        made.setdefault(group, {})[version] = served
    return made


def _priority(group: str, version: str, served: Served) -> Priority:
    if isinstance(served, Extension):
        return served.priority
    return built_in(group, version) if served[0].form.has_message else CUSTOM


def _version(version: str, found: Served) -> dict[str, Any]:
    if isinstance(found, Extension):
        freshness = "Current" if found.fresh and found.available else "Stale"
        return {"version": version, **({} if found.resources is None else {"resources": found.resources}), "freshness": freshness}
    resources = [_aggregated_resource(served) for served in sorted(found, key=_plural)]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(served: Version) -> dict[str, Any]:
    resource = served.resource
    found: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": served.group, "version": served.version, "kind": served.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    if served.subresources:
        found["subresources"] = [
            {"subresource": sub.name, "responseKind": _response_kind(served, sub), "verbs": list(sub.verbs)}
            for sub in sorted(served.subresources, key=lambda sub: sub.name)
        ]
    return found


def _response_kind(served: Version, sub: Subresource) -> dict[str, str]:
    api_version, kind = sub.body_names or (served.api_version, served.kind)
    group, _, version = api_version.rpartition("/")
    return {"group": group, "version": version, "kind": kind}


def storage_version_hash(version: Version) -> str:
    """What tells clients that a resource is stored in another version than before: Kubernetes' hash of the stored one."""
    stored = version.resource.storage
    digest = hashlib.sha256(f"{stored.group}/{stored.version}/{stored.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _legacy(served: Version) -> list[dict[str, Any]]:
    """The resource and its sub-resources as an APIResourceList has them."""
    resource = served.resource
    main: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": served.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        main["shortNames"] = list(resource.short_names)
    if resource.categories:
        main["categories"] = list(resource.categories)
    if "watch" in resource.verbs:
        # What cannot be watched is not stored.
        main["storageVersionHash"] = storage_version_hash(served)
    found = [main]
    for sub in sorted(served.subresources, key=lambda sub: sub.name):
        entry: dict[str, Any] = {"name": f"{resource.plural}/{sub.name}", "singularName": "", "namespaced": resource.namespaced}
        names = _response_kind(served, sub)
        if (names["group"], names["version"]) != (served.group, served.version):
            entry |= {"group": names["group"], "version": names["version"]}
        found.append({**entry, "kind": names["kind"], "verbs": list(sub.verbs)})
    return found
