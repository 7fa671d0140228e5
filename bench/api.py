"""The API server under load: one process, TLS, real etcd, a hollow node."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cluster import Server, cluster, run
from bench.lister import lists
from bench.result import Result

PEER = "Kubernetes 1.20.2"
SECONDS = 5
LIST_PODS = 1000
WATCHERS = 100
FANOUT_WRITES = 100
CREATE_SCRIPT = """
local counter = 0
local id = 0
function setup(thread) thread:set("id", id) id = id + 1 end
function request()
  counter = counter + 1
  local name = string.format("bench-%d-%d-{run}", id, counter)
  local body = '{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"' .. name .. '"}},"data":{{"k":"{filling}"}}}}'
  return wrk.format("POST", nil, nil, body)
end
wrk.headers["Content-Type"] = "application/json"
local bad = 0
function response(status) if status ~= 201 then bad = bad + 1 end end
"""


async def wrk(
    bench: Server, path: str, *, connections: int, script: str = "", headers: Sequence[str] = (), seconds: int = SECONDS
) -> float:
    """Requests per second of ``path``; RuntimeError when any answer was not a success."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"Authorization: Bearer {bench.token}"]
    command += [part for header in headers for part in ("-H", header)]
    with tempfile.TemporaryDirectory() as folder:
        if script:
            file = Path(folder) / "script.lua"
            file.write_text(script)
            command += ["-s", str(file)]
        output = await run(*command, bench.server + path)
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk met errors on {path}:\n{output}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise RuntimeError(f"wrk printed no rate:\n{output}")
    return float(found[1])


def pod(name: str) -> dict[str, Any]:
    """A pod about as large as real ones; no scheduler of ours takes it."""
    env = [{"name": f"VARIABLE_{number}", "value": f"value-{number}"} for number in range(8)]
    ports = [{"name": "http", "containerPort": 8080}]
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
    container = {"name": "app", "image": "registry.example/app:1.2.3", "env": env, "ports": ports, "resources": resources}
    metadata = {"name": name, "labels": {"app": "bench", "tier": "backend"}, "annotations": {"note": "made for a measurement"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"schedulerName": "nobody", "containers": [container]}}


async def api_rates() -> list[Result]:
    """GET of one object, LIST of 1,000 pods, creates of 1 KB ConfigMaps."""
    async with cluster(runtime="hollow") as bench:
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"k": "v" * 900}}
        await bench.request("POST", "/api/v1/namespaces/default/configmaps", config_map)
        get_rate = await wrk(bench, "/api/v1/namespaces/default/configmaps/one", connections=16)
        script = CREATE_SCRIPT.format(run=int(time.time()), filling="x" * 900)
        create_rate = await wrk(bench, "/api/v1/namespaces/default/configmaps", connections=16, script=script)
        for first in range(0, LIST_PODS, 50):
            batch = [bench.request("POST", "/api/v1/namespaces/default/pods", pod(f"p{number:04}")) for number in range(first, first + 50)]
            await asyncio.gather(*batch)
        pods = f"{bench.server}/api/v1/namespaces/default/pods?resourceVersion=0"
        list_rate = await lists(pods, bench.token, connections=4, seconds=SECONDS)
    return [
        Result("api-get", get_rate, "/s", PEER, 4200, "≥ 6,000 /s", get_rate >= 6000),
        Result("api-list", list_rate, "/s", PEER, 64, "≥ 250 /s", list_rate >= 250),
        Result("api-create", create_rate, "/s", PEER, 1100, "≥ 1,100 /s", create_rate >= 1100),
    ]


async def watch_fanout() -> list[Result]:
    """One write to 100 watchers: from the write's sending to each watcher's line, p99."""
    path = "/api/v1/namespaces/default/configmaps"
    async with cluster(runtime="hollow") as bench:
        await bench.request("POST", path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fan"}})
        sent: dict[str, float] = {}
        delays: list[float] = []
        ready = asyncio.Semaphore(0)

        async def watcher() -> None:
            seen = 0
            async with bench.session.get(f"{bench.server}{path}?watch=true&fieldSelector=metadata.name=fan") as answer:
                async for line in answer.content:
                    now = time.monotonic()
                    mark = json.loads(line)["object"].get("data", {}).get("mark")
                    if mark is None:
                        ready.release()
                        continue
                    delays.append(now - sent[mark])
                    seen += 1
                    if seen == FANOUT_WRITES:
                        return

        tasks = [asyncio.create_task(watcher()) for _ in range(WATCHERS)]
        for _ in tasks:
            await ready.acquire()
        for number in range(FANOUT_WRITES):
            sent[str(number)] = time.monotonic()
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fan"}, "data": {"mark": str(number)}}
            await bench.request("PUT", f"{path}/fan", body)
            await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)
    value = statistics.quantiles(delays, n=100)[98] * 1000
    return [Result("watch-fanout", value, "ms", "the limit", 50, "p99 < 50 ms", value < 50)]
