"""Discovery: what is served, in the aggregated and the legacy form, all derived from the registry."""

from __future__ import annotations

from itertools import groupby

import orjson

from knarr.machinery.resources import Registry, Subresource, Version, version_priority
from services.apiserver.rest import negotiation
from services.apiserver.rest.response import Response

GROUP = "apidiscovery.k8s.io"
AGGREGATED_VERSIONS = ("v2", "v2beta1")
LIST_KIND = "APIGroupDiscoveryList"


class Discovery:
    """Answers for /api, /apis and the group versions below them; each is made once."""

    def __init__(self, registry: Registry) -> None:
        self._served = sorted(registry.versions, key=lambda served: (served.group, version_priority(served.version)))
        self._groups = {group: list(found) for group, found in groupby(self._served, key=lambda served: served.group)}
        self._made: dict[tuple[tuple[str, ...], str], Response] = {}

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        groups = [f"/apis/{group}" for group in self._groups if group]
        return ["/api", "/apis", *groups, *{_path(served) for served in self._served}]

    def answer(self, path: str, accept: bytes) -> Response | None:
        """None for a path that is none of discovery's. Raises NotAcceptable."""
        parts = tuple(path.strip("/").split("/"))
        if len(parts) == 1 and parts[0] in ("api", "apis") and (aggregated := aggregated_version(accept.decode("latin-1"))):
            return self._make(parts, aggregated)
        found = self._make(parts, "")
        if found is not None:
            negotiation.wanted(accept)
        return found

    def _make(self, parts: tuple[str, ...], aggregated: str) -> Response | None:
        """Remembers what there is, and nothing of what else is asked for."""
        found = self._made.get((parts, aggregated))
        if found is None and (found := self._response(parts, aggregated)) is not None:
            self._made[parts, aggregated] = found
        return found

    def _response(self, parts: tuple[str, ...], aggregated: str) -> Response | None:
        match parts:
            case ("api",) | ("apis",) if aggregated:
                content_type = f"{negotiation.JSON};g={GROUP};v={aggregated};as={LIST_KIND}"
                return Response(orjson.dumps(self._aggregated(parts[0], aggregated)), content_type=content_type)
            case ("api",):
                return Response(orjson.dumps(_API_VERSIONS))
            case ("apis",):
                groups = [self._group(name) for name in self._groups if name]
                return Response(orjson.dumps({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            case ("apis", group) if group in self._groups:
                return Response(orjson.dumps({"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}))
            case ("api", version):
                return self._resources("", version)
            case ("apis", group, version):
                return self._resources(group, version)
        return None

    def _aggregated(self, root: str, version: str) -> dict[str, object]:
        names = [name for name in self._groups if (root == "api") == (name == "")]
        items = [
            {"metadata": {"name": name, "creationTimestamp": None}, "versions": [_version(*found) for found in self._versions(name)]}
            for name in names
        ]
        return {"kind": LIST_KIND, "apiVersion": f"{GROUP}/{version}", "metadata": {}, "items": items}

    def _versions(self, group: str) -> list[tuple[str, list[Version]]]:
        return [(version, list(found)) for version, found in groupby(self._groups[group], key=lambda served: served.version)]

    def _group(self, name: str) -> dict[str, object]:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version, _ in self._versions(name)]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Response | None:
        found = dict(self._versions(group)).get(version) if group in self._groups else None
        if found is None:
            return None
        resources = [entry for served in sorted(found, key=_plural) for entry in _legacy(served)]
        group_version = f"{group}/{version}" if group else version
        return Response(
            orjson.dumps({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
        )


_API_VERSIONS = {
    "kind": "APIVersions",
    "versions": ["v1"],
    "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
}


def aggregated_version(accept: str) -> str:
    """``v2`` or ``v2beta1`` when the client asks for aggregated discovery first, else empty."""
    for clause in negotiation.clauses(accept):
        if clause.media_type not in (negotiation.JSON, "*/*", "application/*"):
            continue
        parameters = clause.parameters
        if not parameters.get("as"):
            return ""
        if parameters["as"] == LIST_KIND and parameters.get("g") == GROUP and parameters.get("v") in AGGREGATED_VERSIONS:
            return parameters["v"]
    return ""


def _plural(served: Version) -> str:
    return served.resource.plural


def _path(served: Version) -> str:
    return f"/apis/{served.api_version}" if served.group else f"/api/{served.version}"


def _version(version: str, found: list[Version]) -> dict[str, object]:
    resources = [_aggregated_resource(served) for served in sorted(found, key=_plural)]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(served: Version) -> dict[str, object]:
    resource = served.resource
    found: dict[str, object] = {
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
    if resource.subresources:
        found["subresources"] = [
            {"subresource": sub.name, "responseKind": _response_kind(served, sub), "verbs": list(sub.verbs)}
            for sub in sorted(resource.subresources, key=lambda sub: sub.name)
        ]
    return found


def _response_kind(served: Version, sub: Subresource) -> dict[str, str]:
    api_version, kind = sub.body_names or (served.api_version, served.kind)
    group, _, version = api_version.rpartition("/")
    return {"group": group, "version": version, "kind": kind}


def _legacy(served: Version) -> list[dict[str, object]]:
    """The resource and its sub-resources as an APIResourceList has them."""
    resource = served.resource
    main: dict[str, object] = {
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
    found = [main]
    for sub in sorted(resource.subresources, key=lambda sub: sub.name):
        entry: dict[str, object] = {"name": f"{resource.plural}/{sub.name}", "singularName": "", "namespaced": resource.namespaced}
        names = _response_kind(served, sub)
        if (names["group"], names["version"]) != (served.group, served.version):
            entry |= {"group": names["group"], "version": names["version"]}
        found.append({**entry, "kind": names["kind"], "verbs": list(sub.verbs)})
    return found
