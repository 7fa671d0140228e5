"""What a caller must be permitted before a request is passed on to an extension API server."""

from __future__ import annotations

import pytest

from services.apiserver.authorization import path_of, refusal
from services.apiserver.request import Request
from tests.apiserver.aggregation.conftest import Cluster
from tests.support.extension import ROOT, ExtensionServer

FLUNDERS = f"{ROOT}/namespaces/mine/flunders"


class Nobody:
    """Permits nothing but what is no resource, if that; keeps what it was asked."""

    def __init__(self, *paths: str) -> None:
        self.paths, self.asked = paths, list[tuple[str, ...]]()

    def authorize(self, request: Request) -> None:
        ref = request.ref
        path = path_of(ref)
        asked = (request.verb, path) if path else (request.verb, ref.resource.plural, ref.namespace, ref.name, ref.subresource)
        self.asked.append(asked)
        if path not in self.paths:
            raise refusal(request)


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", FLUNDERS, ("list", "flunders", "mine", "", "")),
        ("DELETE", f"{FLUNDERS}/a/status", ("delete", "flunders", "mine", "a", "status")),
        # A slash is one however it is written: the other side reads it so.
        ("GET", f"{FLUNDERS}/a%2Fstatus", ("get", "flunders", "mine", "a", "status")),
        ("GET", f"{ROOT}/namespaces/mine%2Fflunders%2Fa", ("get", "flunders", "mine", "a", "")),
        ("PUT", f"{ROOT}/namespaces%2fmine/flunders/a", ("update", "flunders", "mine", "a", "")),
        # What has no name at a place is about something all the same.
        ("POST", f"{ROOT}//namespaces/mine/flunders", ("create", "", "", "namespaces", "mine")),
        ("GET", f"{ROOT}//flunders", ("get", "", "", "flunders", "")),
        ("GET", f"{ROOT}/%2Fflunders", ("get", "", "", "flunders", "")),
        ("GET", ROOT, ("get", ROOT)),
        ("GET", f"{ROOT}/%2F/", ("get", ROOT)),
        ("POST", ROOT, ("post", ROOT)),
    ],
)
async def test_nothing_is_passed_on_that_was_not_permitted(
    method: str, path: str, asked: tuple[str, ...], cluster: Cluster, extension: ExtensionServer
) -> None:
    await cluster.served(extension)
    nobody = Nobody()
    object.__setattr__(cluster.api.server.api.pipeline, "authorizer", nobody)
    before = len(extension.heard)
    assert (await cluster.rest.request(method, path)).status == 403
    assert (nobody.asked, len(extension.heard)) == ([asked], before)


async def test_who_may_look_what_is_served_may_look_at_its_openapi(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)
    await cluster.until(lambda: _has_openapi(cluster))
    path = f"/openapi/v3{ROOT}"
    nobody = Nobody(path)
    object.__setattr__(cluster.api.server.api.pipeline, "authorizer", nobody)
    assert (await cluster.rest.get(path)).status == 200
    assert nobody.asked == [("get", path)]


async def _has_openapi(cluster: Cluster) -> bool:
    return any(extension.openapi_url for extension in cluster.aggregation.extensions)
