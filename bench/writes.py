"""Writes under load: creates and updates beside kube-apiserver in the same run, and server-side apply of a Deployment."""

from __future__ import annotations

import asyncio
import time

from bench.api import CREATE_SCRIPT, wrk
from bench.cluster import Server
from bench.kube_apiserver import beside_kubernetes
from bench.result import Result

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONNECTIONS = 16
# More than there are connections, so that no two of them write one object at the same time.
UPDATED = 64
# Who made them, and who changes them.
MANAGERS = 2
APPLIED_TARGET = 400
# What kube-apiserver did on a machine of the kind, recorded 2026-11-28.
RECORDED_CREATES, RECORDED_UPDATES, RECORDED_APPLIES = 1750.0, 1500.0, 600.0
UPDATE_SCRIPT = """
local counter = 0
function request()
  counter = counter + 1
  local name = string.format("updated-%d", counter % {objects})
  local head = '{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"' .. name .. '"}},'
  local body = head .. '"data":{{"k":"{filling}","n":"' .. counter .. '"}}}}'
  return wrk.format("PUT", "{path}/" .. name, nil, body)
end
wrk.headers["Content-Type"] = "application/json"
"""
APPLY_SCRIPT = """
local counter = 0
function request()
  counter = counter + 1
  local name = string.format("applied-{run}-%d", counter % {objects})
  local labels = '{{"app":"' .. name .. '"}}'
  local container = '{{"name":"app","image":"registry.example/app:1.2.3","ports":[{{"containerPort":8080}}],' ..
    '"env":[{{"name":"N","value":"' .. counter .. '"}}],"resources":{{"requests":{{"cpu":"100m","memory":"128Mi"}}}}}}'
  local template = '{{"metadata":{{"labels":' .. labels .. '}},"spec":{{"containers":[' .. container .. ']}}}}'
  local spec = '{{"replicas":0,"selector":{{"matchLabels":' .. labels .. '}},"template":' .. template .. '}}'
  local metadata = '{{"name":"' .. name .. '","labels":' .. labels .. '}}'
  local body = '{{"apiVersion":"apps/v1","kind":"Deployment","metadata":' .. metadata .. ',"spec":' .. spec .. '}}'
  return wrk.format("PATCH", "{path}/" .. name .. "?fieldManager=bench&force=true", nil, body)
end
wrk.headers["Content-Type"] = "application/apply-patch+yaml"
"""


def _run() -> int:
    """A number that no round before had, for the names of new objects."""
    return time.time_ns() // 1_000_000


async def creates(server: Server) -> float:
    """New ConfigMaps of 1 KB a second."""
    return await wrk(server, CONFIG_MAPS, connections=CONNECTIONS, script=CREATE_SCRIPT.format(run=_run(), filling="x" * 900))


async def updates(server: Server) -> float:
    """ConfigMaps of 1 KB replaced a second."""
    script = UPDATE_SCRIPT.format(objects=UPDATED, filling="x" * 900, path=CONFIG_MAPS)
    rate = await wrk(server, CONFIG_MAPS, connections=CONNECTIONS, script=script)
    managers = (await server.request("GET", f"{CONFIG_MAPS}/updated-0"))["metadata"]["managedFields"]
    if len(managers) != MANAGERS:
        raise RuntimeError(f"{len(managers)} managers are kept of what was made by one and changed by another")
    return rate


async def applies(server: Server) -> float:
    """Deployments changed by server-side apply a second; the first of each name makes it."""
    script = APPLY_SCRIPT.format(objects=UPDATED, run=_run(), path=DEPLOYMENTS)
    return await wrk(server, DEPLOYMENTS, connections=CONNECTIONS, script=script)


async def _make_updated(server: Server) -> None:
    # With data, so that they have a manager: of an object without one nobody keeps who changed what.
    data = {"k": "x" * 900, "n": "0"}
    bodies = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"updated-{n}"}, "data": data} for n in range(UPDATED)]
    await asyncio.gather(*(server.request("POST", CONFIG_MAPS, body) for body in bodies))


async def peer_create() -> list[Result]:
    async with beside_kubernetes() as sides:
        return [await sides.compare("peer-create", creates, recorded=RECORDED_CREATES, at_least=1.1)]


async def peer_update() -> list[Result]:
    async with beside_kubernetes() as sides:
        for side in sides.all:
            await _make_updated(side.server)
        return [await sides.compare("peer-update", updates, recorded=RECORDED_UPDATES, at_least=1.0)]


async def peer_apply() -> list[Result]:
    """The target is a figure of its own; kube-apiserver's stands beside it."""
    async with beside_kubernetes() as sides:
        found = await sides.compare("peer-apply", applies, recorded=RECORDED_APPLIES, at_least=0.0)
    target = f"≥ {APPLIED_TARGET} /s"
    return [Result(found.name, found.value, found.unit, found.peer, found.peer_value, target, found.value >= APPLIED_TARGET)]
