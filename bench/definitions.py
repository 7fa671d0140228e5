"""Memory of a whole cluster while definitions come and go, each with an object of its kind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from bench.cluster import BenchCluster, cluster, resident_megabytes
from bench.custom import CRDS
from bench.result import Result

DEFINITIONS, AT_ONCE = 100, 10
FIRST_ROUNDS, ROUNDS = 2, 20
POLL_SECONDS = 0.05
# The history of what has come and gone is let go after 75 s, and what was freed goes back to the system within 30 more.
SETTLE_SECONDS = 110.0
GROUP = "bench.example.org"


async def definitions_memory() -> list[Result]:
    """100 definitions made, used and removed in each of 20 rounds: the memory is where it was after two."""
    async with cluster(runtime="hollow", datapath="userspace") as bench:
        for _ in range(FIRST_ROUNDS):
            await _come_and_go(bench)
        before = await _settled(bench)
        for _ in range(ROUNDS - FIRST_ROUNDS):
            await _come_and_go(bench)
        after = await _settled(bench)
    return [Result("definitions-memory", after, "MB", "after 2 rounds", before, "≤ 1.1 × before", after <= 1.1 * before)]


async def _come_and_go(bench: BenchCluster) -> None:
    for first in range(0, DEFINITIONS, AT_ONCE):
        await asyncio.gather(*(_define(bench, number) for number in range(first, first + AT_ONCE)))
    for first in range(0, DEFINITIONS, AT_ONCE):
        await asyncio.gather(*(_remove(bench, number) for number in range(first, first + AT_ONCE)))


async def _settled(bench: BenchCluster) -> float:
    await asyncio.sleep(SETTLE_SECONDS)
    return resident_megabytes(bench.pid)


async def _define(bench: BenchCluster, number: int) -> None:
    """Also an object, once its kind is served."""
    await bench.request("POST", CRDS, _definition(number))
    path = f"/apis/{GROUP}/v1/namespaces/default/things{number}"
    made = {"apiVersion": f"{GROUP}/v1", "kind": f"Thing{number}", "metadata": {"name": "a"}, "spec": {"size": 1, "name": "a"}}
    while True:
        # What is not served yet is answered in words, not in JSON.
        with suppress(RuntimeError, ValueError):
            await bench.request("POST", path, made)
            return
        await asyncio.sleep(POLL_SECONDS)


async def _remove(bench: BenchCluster, number: int) -> None:
    """Until its objects are gone, and it after them."""
    path = f"{CRDS}/things{number}.{GROUP}"
    await bench.request("DELETE", path)
    with suppress(RuntimeError):
        while True:
            await bench.request("GET", path)
            await asyncio.sleep(POLL_SECONDS)


def _definition(number: int) -> dict[str, Any]:
    spec = {
        "type": "object",
        "properties": {"size": {"type": "integer", "minimum": 0}, "name": {"type": "string", "pattern": "^[a-z]+$"}},
    }
    version = {"name": "v1", "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things{number}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": f"things{number}", "kind": f"Thing{number}"},
            "versions": [{**version, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
        },
    }
