"""An extension API server on loopback, which takes callers' names from whom the front proxy's authority named, and from nobody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from knarr.service.certificates import CertificateAuthority

GROUP, VERSION = "wardle.example.com", "v1alpha1"
ROOT = f"/apis/{GROUP}/{VERSION}"
NAMES = ("api.wardle.svc",)
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
RESOURCES: dict[str, Any] = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get", "update"]},
        {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "shortNames": ["fl"], "verbs": VERBS},
        {"name": "fischers", "singularName": "fischer", "namespaced": False, "kind": "Fischer", "verbs": VERBS},
    ],
}
FLUNDER = "com.example.wardle.v1alpha1.Flunder"
KIND = [{"group": GROUP, "version": VERSION, "kind": "Flunder"}]
OPENAPI_V2: dict[str, Any] = {
    "swagger": "2.0",
    "info": {"title": "wardle", "version": "1"},
    "paths": {
        f"{ROOT}/namespaces/{{namespace}}/flunders": {
            "get": {"operationId": "list", "responses": {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{FLUNDER}"}}}}
        },
        "/apis/apps/v1/deployments": {"get": {"operationId": "theirs", "responses": {}}},
    },
    "definitions": {
        FLUNDER: {
            "type": "object",
            "description": "A flunder.",
            "properties": {"spec": {"$ref": "#/definitions/com.example.Spec"}},
            "x-kubernetes-group-version-kind": KIND,
        },
        "com.example.Spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
        "com.example.Unused": {"type": "object"},
    },
}
OPENAPI_V3 = {"openapi": "3.0.0", "info": {"title": "wardle", "version": "1"}, "paths": {}, "components": {"schemas": {FLUNDER: {}}}}


class ExtensionServer:
    """``heard`` are the requests as they came: method, target, headers. ``play`` may answer instead, by the path; it is set by a test."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self.authority = authority
        self.heard: list[tuple[str, str, dict[str, list[str]]]] = []
        self.play: dict[str, Any] = {}
        # What a test's ``play`` was sent.
        self.bodies: list[Any] = []
        self.port = 0
        self.held = asyncio.Event()
        self.watching = asyncio.Event()

    @property
    def ca_bundle(self) -> bytes:
        return self.authority.pair.certificate

    def requests(self, path: str) -> list[dict[str, list[str]]]:
        """The headers of those to a path."""
        return [headers for _, target, headers in self.heard if target.partition("?")[0] == path]

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        self.heard.append((request.method, request.raw_path, headers))
        if not _is_front_proxy(request):
            return web.Response(status=401, text="who speaks?")
        play = self.play.get(request.path)
        if play is not None:
            found = await play(request)
            assert isinstance(found, web.StreamResponse)
            return found
        return await self._answer(request)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.path:
            case path if path == ROOT:
                return _json(RESOURCES)
            case "/openapi/v2":
                return _json(OPENAPI_V2)
            case "/openapi/v3":
                return _json({"paths": {ROOT.strip("/"): {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=ABC"}}})
            case path if path == f"/openapi/v3{ROOT}":
                return _json(OPENAPI_V3)
            case path if path.endswith("/exec"):
                return await _socket(request)
        if "watch" in request.query:
            return await self._watch(request)
        body = await request.read()
        return web.Response(body=body or b"{}", content_type="application/json", headers={"X-Served-By": "wardle"})

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"type":"ADDED"}\n')
        self.watching.set()
        await self.held.wait()
        await response.write(b'{"type":"DELETED"}\n')
        return response


async def _socket(request: web.BaseRequest) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(b"\x01" + message.data)
    return socket


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _is_front_proxy(request: web.BaseRequest) -> bool:
    assert request.transport is not None
    certificate = request.transport.get_extra_info("peercert") or {}
    names = [value for entry in certificate.get("subject", ()) for name, value in entry if name == "commonName"]
    return names == ["front-proxy-client"]


@asynccontextmanager
async def running_extension(folder: Path, front_proxy_ca: Path, names: tuple[str, ...] = NAMES) -> AsyncIterator[ExtensionServer]:
    """Its certificate names ``names``."""
    server = ExtensionServer(CertificateAuthority.create("wardle-ca"))
    server.authority.issue("wardle", hosts=names).save(folder, "wardle")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "wardle.crt", folder / "wardle.key")
    context.load_verify_locations(front_proxy_ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    runner = web.ServerRunner(web.Server(server), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        server.held.set()
        await runner.cleanup()
        # Closed connections say goodbye in later turns of the loop, those that were about to begin in one more.
        for _ in range(5):
            await asyncio.sleep(0)
