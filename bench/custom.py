"""Custom resources beside ConfigMaps of their size, in one run: creates with ten rules in CEL, and a list of 10,000."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from bench.api import CREATE_SCRIPT, wrk
from bench.cluster import Server
from bench.kube_apiserver import POLL_SECONDS, ROUNDS, apiserver, measured
from bench.result import Result
from bench.writes import creates

OBJECTS = 10_000
DEFINED_SECONDS = 10.0
AT_ONCE = 50
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/bench.example.org/v1/namespaces/default/widgets"
NUMBERS = {f"n{number}": number for number in range(10)}
RULES = [{"rule": f"self.{name} >= 0 && self.{name} < 1000 && self.text.startsWith('x')"} for name in NUMBERS]
TEXT = "x" * 850
DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.bench.example.org"},
    "spec": {
        "group": "bench.example.org",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": {
                "type": "object",
                "x-kubernetes-validations": RULES,
                "properties": {"text": {"type": "string", "maxLength": 1000}, **{name: {"type": "integer"} for name in NUMBERS}},
            }},
        }}}],
    },
}  # fmt: skip
HEAD = '{{"apiVersion":"bench.example.org/v1","kind":"Widget","metadata":{{"name":"\' .. name .. \'"}},'
BODY = HEAD + '"spec":{{"text":"{filling}",{numbers}}}}}'


def _script() -> str:
    """The script that creates ConfigMaps, made to create widgets."""
    lines = CREATE_SCRIPT.splitlines()
    numbers = ",".join(f'"{name}":{value}' for name, value in NUMBERS.items())
    place = next(index for index, line in enumerate(lines) if "local body" in line)
    lines[place] = "  local body = '" + BODY.replace("{numbers}", numbers) + "'"
    return "\n".join(lines)


async def _fill(server: Server, path: str, body: dict[str, Any]) -> None:
    for first in range(0, OBJECTS, AT_ONCE):
        names = [f"filled-{number:05}" for number in range(first, first + AT_ONCE)]
        await asyncio.gather(*(server.request("POST", path, {**body, "metadata": {"name": name}}) for name in names))


async def custom_create() -> list[Result]:
    """Both sorts in turn, on the API server alone."""
    async with apiserver() as ours:
        await _define(ours.server)
        plain, custom = [], []
        for _ in range(ROUNDS):
            plain.append(await measured("ConfigMaps", ours, creates))
            custom.append(await measured("custom", ours, _creates))
    rate = statistics.median(custom)
    return [Result("custom-create", rate, "/s", "ConfigMaps", statistics.median(plain), "≥ 400 /s with 10 rules", rate >= 400)]


async def _creates(server: Server) -> float:
    return await wrk(server, WIDGETS, connections=16, script=_script().format(run=time.time_ns(), filling=TEXT))


async def custom_list() -> list[Result]:
    async with apiserver() as ours:
        await _define(ours.server)
        await _fill(ours.server, CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "x" * 950}})
        await _fill(ours.server, WIDGETS, {"apiVersion": "bench.example.org/v1", "kind": "Widget", "spec": {"text": TEXT, **NUMBERS}})
        plain = await wrk(ours.server, f"{CONFIG_MAPS}?resourceVersion=0", connections=4)
        custom = await wrk(ours.server, f"{WIDGETS}?resourceVersion=0", connections=4)
    return [Result("custom-list", custom, "/s", "ConfigMaps", plain, "≥ 0.9 × ConfigMaps", custom >= 0.9 * plain)]


async def _define(server: Server) -> None:
    """Makes the definition, and waits until its objects are served."""
    await server.request("POST", CRDS, DEFINITION)
    async with asyncio.timeout(DEFINED_SECONDS):
        while True:
            found = await server.request("GET", f"{CRDS}/widgets.bench.example.org")
            conditions = found.get("status", {}).get("conditions") or []
            if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                return
            await asyncio.sleep(POLL_SECONDS)
