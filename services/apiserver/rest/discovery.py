"""Discovery: what is served, in the aggregated and the legacy form, all derived from the kinds."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

import orjson

from knarr.machinery.kinds import Kind, Kinds, Subresource
from services.apiserver.rest import negotiation
from services.apiserver.rest.response import Response

GROUP = "apidiscovery.k8s.io"
AGGREGATED_VERSIONS = ("v2", "v2beta1")
LIST_KIND = "APIGroupDiscoveryList"


class Discovery:
    """Answers for /api, /apis and the group versions below them; each is made once."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = sorted(kinds, key=lambda kind: (kind.group, kind.version))
        self._groups = {group: list(found) for group, found in groupby(self._kinds, key=lambda kind: kind.group)}
        self._make = lru_cache(maxsize=256)(self._response)

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        groups = [f"/apis/{group}" for group in self._groups if group]
        return ["/api", "/apis", *groups, *{f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}" for kind in self._kinds}]

    def answer(self, path: str, accept: bytes) -> Response | None:
        """None for a path that is none of discovery's. Raises NotAcceptable."""
        parts = tuple(path.strip("/").split("/"))
        if len(parts) == 1 and parts[0] in ("api", "apis"):
            return self._make(parts, aggregated_version(accept.decode("latin-1")))
        return self._make(parts, "")

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

    def _versions(self, group: str) -> list[tuple[str, list[Kind]]]:
        return [(version, list(found)) for version, found in groupby(self._groups[group], key=lambda kind: kind.version)]

    def _group(self, name: str) -> dict[str, object]:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version, _ in self._versions(name)]
        return {"name": name, "versions": versions, "preferredVersion": versions[-1]}

    def _resources(self, group: str, version: str) -> Response | None:
        found = dict(self._versions(group)).get(version) if group in self._groups else None
        if found is None:
            return None
        resources = [entry for kind in sorted(found, key=lambda kind: kind.plural) for entry in _legacy(kind)]
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


def _version(version: str, kinds: list[Kind]) -> dict[str, object]:
    resources = [_aggregated_resource(kind) for kind in sorted(kinds, key=lambda kind: kind.plural)]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(kind: Kind) -> dict[str, object]:
    found: dict[str, object] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.name},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {"subresource": sub.name, "responseKind": _response_kind(kind, sub), "verbs": list(sub.verbs)}
            for sub in sorted(kind.subresources, key=lambda sub: sub.name)
        ]
    return found


def _response_kind(kind: Kind, sub: Subresource) -> dict[str, str]:
    if sub.kind:
        return {"group": sub.group, "version": sub.version, "kind": sub.kind}
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _legacy(kind: Kind) -> list[dict[str, object]]:
    """The resource and its sub-resources as an APIResourceList has them."""
    main: dict[str, object] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        main["shortNames"] = list(kind.short_names)
    if kind.categories:
        main["categories"] = list(kind.categories)
    found = [main]
    for sub in sorted(kind.subresources, key=lambda sub: sub.name):
        entry: dict[str, object] = {"name": f"{kind.plural}/{sub.name}", "singularName": "", "namespaced": kind.namespaced}
        if sub.kind and (sub.group, sub.version) != (kind.group, kind.version):
            entry |= {"group": sub.group, "version": sub.version}
        found.append({**entry, "kind": sub.kind or kind.name, "verbs": list(sub.verbs)})
    return found
