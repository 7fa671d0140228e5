"""How soon an autoscaler decides once what it goes by has moved, through an API server of others that tells the metric."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.cluster import Server
from bench.controllers import controllers
from bench.result import Result
from bench.workloads import deployment
from knarr.service.certificates import CertificateAuthority
from services.standalone.machine import node_address

# Kubernetes' period, which is ours, and what may come on top of it.
PERIOD_SECONDS, TARGET_SECONDS = 15.0, 16.0
MOVES, PAUSE_SECONDS, POLL_SECONDS, SEED = 6, 10.0, 0.02, 1
GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
ROOT, DEPLOYMENT = f"/apis/{GROUP}/{VERSION}", "/apis/apps/v1/namespaces/default/deployments/web-0"


class Metrics:
    """``value`` is what there is to do; a pod bears ten of it."""

    def __init__(self) -> None:
        self.value = 10

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        if request.path == f"{ROOT}/namespaces/default/depth":
            return web.json_response({"items": [{"metricName": "depth", "value": str(self.value)}]})
        return web.json_response({"kind": "APIResourceList", "groupVersion": f"{GROUP}/{VERSION}", "resources": []})


async def autoscale_decision() -> list[Result]:
    """From when the metric is another one until the Deployment's replicas are, the longest of six."""
    async with controllers() as (parts, server), _served(parts.data_dir) as (metrics, port):
        await _register(server, port)
        await server.request("POST", DEPLOYMENT.rpartition("/")[0], deployment("web-0", 1))
        await server.request("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", _autoscaler())
        found = [seconds async for seconds in _moves(server, metrics)]
    slowest = max(found)
    limit = f"≤ {TARGET_SECONDS:g} s"
    return [Result("autoscale-decision", slowest, "s", "a sync period", PERIOD_SECONDS, limit, slowest <= TARGET_SECONDS)]


async def _moves(server: Server, metrics: Metrics) -> AsyncIterator[float]:
    source = random.Random(SEED)
    for number in range(MOVES):
        # Anywhere within a period.
        await asyncio.sleep(PAUSE_SECONDS * source.random())
        wanted = 4 if number % 2 == 0 else 2
        metrics.value, moved = 10 * wanted, time.monotonic()
        while (await server.request("GET", DEPLOYMENT))["spec"]["replicas"] != wanted:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        yield time.monotonic() - moved


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[tuple[Metrics, int]]:
    metrics = Metrics()
    CertificateAuthority.create("metrics-ca").issue("metrics", hosts=("metrics.default.svc",)).save(folder, "metrics")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "metrics.crt", folder / "metrics.key")
    runner = web.ServerRunner(web.Server(metrics))
    await runner.setup()
    try:
        await web.TCPSite(runner, node_address(), 0, ssl_context=context).start()
        yield metrics, runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _register(server: Server, port: int) -> None:
    """A Service that leads to it, and the APIService; until it is found there."""
    ports = [{"name": "https", "port": 443}]
    await server.request("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "metrics"}, "spec": {"ports": ports}})
    subsets = [{"addresses": [{"ip": node_address()}], "ports": [{"name": "https", "port": port}]}]
    await server.request("POST", "/api/v1/namespaces/default/endpoints", {"metadata": {"name": "metrics"}, "subsets": subsets})
    spec: dict[str, Any] = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": "default", "name": "metrics"},
    }
    path = "/apis/apiregistration.k8s.io/v1/apiservices"
    await server.request("POST", path, {"metadata": {"name": f"{VERSION}.{GROUP}"}, "spec": spec})
    while True:
        status = (await server.request("GET", f"{path}/{VERSION}.{GROUP}")).get("status", {})
        if any(one["type"] == "Available" and one["status"] == "True" for one in status.get("conditions", [])):
            return
        await asyncio.sleep(POLL_SECONDS)


def _autoscaler() -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": "10"}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web-0"},
        "maxReplicas": 9,
        "metrics": [{"type": "External", "external": {"metric": {"name": "depth"}, "target": target}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    return {"metadata": {"name": "web"}, "spec": spec}
