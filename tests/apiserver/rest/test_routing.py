"""Paths name what Kubernetes means by them."""

from __future__ import annotations

import pytest

from knarr.machinery.catalog import registry
from services.apiserver.rest.routing import Router

ROUTER = Router(registry())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/pods", ("Pod", "", "", "")),
        ("/api/v1/namespaces/default/pods", ("Pod", "default", "", "")),
        ("/api/v1/namespaces/default/pods/", ("Pod", "default", "", "")),
        ("/api/v1/namespaces/default/pods/p1", ("Pod", "default", "p1", "")),
        ("/api/v1/namespaces/default/pods/p1/log", ("Pod", "default", "p1", "log")),
        ("/api/v1/namespaces", ("Namespace", "", "", "")),
        ("/api/v1/namespaces/default", ("Namespace", "", "default", "")),
        ("/api/v1/namespaces/default/status", ("Namespace", "", "default", "status")),
        ("/api/v1/namespaces/default/finalize", ("Namespace", "", "default", "finalize")),
        ("/api/v1/nodes/node-1/status", ("Node", "", "node-1", "status")),
        ("/apis/apps/v1/namespaces/a/deployments/d/scale", ("Deployment", "a", "d", "scale")),
        ("/apis/coordination.k8s.io/v1/leases", ("Lease", "", "", "")),
        ("/api/v1/namespaces/default/configmaps/kube%2Droot", ("ConfigMap", "default", "kube-root", "")),
    ],
)
def test_resource_paths(path: str, expected: tuple[str, str, str, str]) -> None:
    target = ROUTER.target(path)
    assert target is not None
    subresource = target.subresource.name if target.subresource else ""
    assert (target.version.kind, target.namespace, target.name, subresource) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz",
        "/api/v1/nopes", "/apis/nope.io/v1/x", "/apis/apps/v2/deployments",
        "/api/v1/pods/p1", "/api/v1/namespaces/default/nodes", "/api/v1/namespaces/default/pods/p1/nope",
        "/api/v1/namespaces/default/pods/p1/log/more", "/api/v1//pods", "/api/v1/namespaces//pods",
    ],
)  # fmt: skip
def test_other_paths(path: str) -> None:
    assert ROUTER.target(path) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/watch/pods", ("Pod", "", "")),
        ("/api/v1/watch/namespaces/default/pods", ("Pod", "default", "")),
        ("/api/v1/watch/namespaces/default/pods/p1", ("Pod", "default", "p1")),
        ("/api/v1/watch/namespaces", ("Namespace", "", "")),
        ("/api/v1/watch/namespaces/default", ("Namespace", "", "default")),
        ("/apis/apps/v1/watch/namespaces/a/deployments", ("Deployment", "a", "")),
    ],
)
def test_paths_of_watches_as_they_once_were(path: str, expected: tuple[str, str, str]) -> None:
    target = ROUTER.target(path)
    assert target is not None and target.watched
    assert (target.version.kind, target.namespace, target.name) == expected


@pytest.mark.parametrize("path", ["/api/v1/watch", "/api/v1/watch/nopes", "/api/v1/watch/namespaces/a/pods/p/log", "/api/v1/watch/pods/p"])
def test_other_paths_of_watches(path: str) -> None:
    assert ROUTER.target(path) is None


def test_a_collection_over_all_namespaces_is_not_scoped() -> None:
    every, one, cluster = (ROUTER.target(path) for path in ("/api/v1/pods", "/api/v1/namespaces/a/pods", "/api/v1/nodes"))
    assert every is not None and one is not None and cluster is not None
    assert (every.scoped, one.scoped, cluster.scoped) == (False, True, True)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/api/v1/nopes", True), ("/api/v9/pods", True), ("/apis/apps/v1/x", True), ("/apis/apps/v9/x", True), ("/apis/apps/v9", True),
        ("/apis/nope.io/v1/x", False), ("/apis", False), ("/api", False), ("/nope", False), ("/", False),
    ],
)  # fmt: skip
def test_served_group_versions(path: str, known: bool) -> None:
    assert ROUTER.knows_group_version(path) is known
