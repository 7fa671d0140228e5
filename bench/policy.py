"""A thousand NetworkPolicies over a thousand pods of one node: how long until all is in force, and what one pod's change costs.

The whole enforcement runs in namespaces of its own, on an API server in memory. `python -m bench.policy` shows one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator

from bench.result import Result
from bench.sandbox import command, inside, prepare
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from services.apiserver.in_memory import ApiInMemory
from services.proxy.policy.enforcement import PolicyEnforcement
from services.proxy.policy.kernel import PolicyTable
from services.proxy.policy.model import Changes
from services.proxy.settings import ProxySettings

NAMESPACES, PODS, POLICIES = 50, 1_000, 1_000
# Applications of a namespace; each has as many pods and policies as come to it.
APPS = 5
TEAMS = 10
FIRST_ADDRESS = int(ipaddress.ip_address("10.244.0.10"))
NODE = "node"
CHANGES = 40
WAIT_SECONDS = 120
CHANGE_TARGET_MS, FIRST_TARGET_SECONDS = 100.0, 10.0


class WatchedTable(PolicyTable):
    """Tells when changes are in force."""

    applied: asyncio.Event
    loop: asyncio.AbstractEventLoop

    def apply(self, changes: Changes) -> bool:
        written = super().apply(changes)
        if changes:
            self.loop.call_soon_threadsafe(self.applied.set)
        return written


async def many_policies() -> list[Result]:
    found = await inside("bench.policy", tools=("nft",))
    first, change, worst = found["first_seconds"], found["change_ms"], found["change_worst_ms"]
    seconds, milliseconds = FIRST_TARGET_SECONDS, CHANGE_TARGET_MS
    peer = f"target; slowest of {CHANGES}: {worst:.1f} ms"
    return [
        Result("policies-first", first, "s", "target", seconds, f"≤ {seconds:g} s", first <= seconds),
        Result("policies-change", change, "ms", peer, milliseconds, f"≤ {milliseconds:g} ms", change <= milliseconds),
    ]


async def _inside() -> dict[str, float]:
    await prepare()
    api = ApiInMemory()
    api.start()
    client = api.client()
    api.seed(*map(_namespace, range(NAMESPACES)), *map(_pod, range(PODS)), *map(_policy, range(POLICIES)))
    started = time.perf_counter()
    async with _enforcement(api) as found:
        first = time.perf_counter() - started
        changes = [await _change(api, client, number) for number in range(CHANGES)]
        await _check(found)
    return {"first_seconds": first, "change_ms": statistics.median(changes), "change_worst_ms": max(changes)}


@contextlib.asynccontextmanager
async def _enforcement(api: ApiInMemory) -> AsyncIterator[PolicyEnforcement]:
    """All policies in force."""
    WatchedTable.applied, WatchedTable.loop = asyncio.Event(), asyncio.get_running_loop()
    found = PolicyEnforcement(api.client(), ProxySettings(instance="bench", node_name=NODE, network_policies=True), WatchedTable)
    task = asyncio.create_task(found.run())
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(found.in_force_since) < POLICIES and not task.done():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _change(api: ApiInMemory, client: Client, number: int) -> float:
    """Milliseconds from writing a pod until it is in force: in turn one becomes another application's, and one comes anew."""
    WatchedTable.applied.clear()
    if number % 2:
        made = _pod(PODS + number)
        started = time.perf_counter()
        # With its status, as the kubelet writes it.
        api.seed(made)
    else:
        subject = number * (PODS // CHANGES)
        found = await client.get(core.Pod, f"pod-{subject}", _namespace_name(subject))
        found.metadata.labels["app"] = _app(_turn(subject) + 1)
        started = time.perf_counter()
        await client.update(found)
    async with asyncio.timeout(WAIT_SECONDS):
        await WatchedTable.applied.wait()
    return (time.perf_counter() - started) * 1000


async def _check(found: PolicyEnforcement) -> None:
    """What was measured is what is in the kernel: every pod is closed, each in its way."""
    listed = await command("nft", "list", "table", "ip", found._settings.policy_table)
    pods = PODS + CHANGES // 2
    jumps = listed.count(" : jump ingress-")
    if jumps != pods or found.problem:
        raise RuntimeError(f"{jumps} of {pods} pods are isolated; {found.problem}")


def _namespace_name(number: int) -> str:
    return f"ns-{number % NAMESPACES}"


def _turn(number: int) -> int:
    return number // NAMESPACES


def _app(turn: int) -> str:
    return f"app-{turn % APPS}"


def _namespace(number: int) -> core.Namespace:
    made = core.Namespace()
    made.metadata.name = f"ns-{number}"
    made.metadata.labels["team"] = f"team-{number % TEAMS}"
    return made


def _pod(number: int) -> core.Pod:
    made = core.Pod()
    made.metadata.namespace, made.metadata.name = _namespace_name(number), f"pod-{number}"
    made.metadata.labels.update({"app": _app(_turn(number)), "release": str(number % 3), "pod-template-hash": str(number)})
    made.spec.node_name = NODE
    made.spec.containers.add(name="main", image="app:1").ports.add(name="http", container_port=8080 + number % 2, protocol="TCP")
    made.status.phase, made.status.pod_ip = "Running", str(ipaddress.ip_address(FIRST_ADDRESS + number))
    return made


def _policy(number: int) -> networking.NetworkPolicy:
    """Of four kinds, in turn: from an application, from a team's namespaces, from addresses, and out to an application."""
    turn = _turn(number)
    made = networking.NetworkPolicy()
    made.metadata.namespace, made.metadata.name = _namespace_name(number), f"policy-{number}"
    made.spec.pod_selector.match_labels["app"] = _app(turn)
    made.spec.policy_types.append("Egress" if turn % 4 == 3 else "Ingress")
    if turn % 4 == 3:
        egress = made.spec.egress.add()
        egress.to.add().pod_selector.match_labels["app"] = _app(turn + 1)
        egress.ports.add(protocol="UDP").port.int_val = 53
        return made
    rule = made.spec.ingress.add()
    if turn % 4 == 0:
        rule.from_peers.add().pod_selector.match_labels["app"] = _app(turn + 2)
    elif turn % 4 == 1:
        rule.from_peers.add().namespace_selector.match_labels["team"] = f"team-{number % TEAMS}"
    else:
        rule.from_peers.add().ip_block.cidr = f"198.51.{number % 256}.0/24"
    port = rule.ports.add(protocol="TCP")
    port.port.type, port.port.str_val = 1, "http"
    rule.ports.add(protocol="TCP", end_port=9000 + number).port.int_val = 9000
    return made


def main() -> None:
    """Measures once and prints what was found as JSON."""
    import uvloop

    print(json.dumps(uvloop.run(_inside() if "--inside" in sys.argv else inside("bench.policy"))))


if __name__ == "__main__":
    main()
