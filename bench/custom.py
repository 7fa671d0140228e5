"""Custom resources beside ConfigMaps of their size, in one run: creates with ten rules in CEL, and a list of 10,000."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.api import CREATE_SCRIPT, wrk
from bench.cluster import BenchCluster, cluster
from bench.result import Result

OBJECTS = 10_000
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


async def _fill(bench: BenchCluster, path: str, body: dict[str, Any]) -> None:
    for first in range(0, OBJECTS, AT_ONCE):
        names = [f"filled-{number:05}" for number in range(first, first + AT_ONCE)]
        await asyncio.gather(*(bench.request("POST", path, {**body, "metadata": {"name": name}}) for name in names))


async def custom_objects() -> list[Result]:
    async with cluster(runtime="hollow") as bench:
        await bench.request("POST", CRDS, DEFINITION)
        await bench.kubectl("wait", "--for=condition=Established", "crd/widgets.bench.example.org", "--timeout=10s")
        run = int(time.time())
        plain_rate = await wrk(bench, CONFIG_MAPS, connections=16, script=CREATE_SCRIPT.format(run=run, filling="x" * 900))
        custom_rate = await wrk(bench, WIDGETS, connections=16, script=_script().format(run=run, filling=TEXT))
        await bench.request("DELETE", CONFIG_MAPS)
        await bench.request("DELETE", WIDGETS)
        await _fill(bench, CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "x" * 950}})
        await _fill(bench, WIDGETS, {"apiVersion": "bench.example.org/v1", "kind": "Widget", "spec": {"text": TEXT, **NUMBERS}})
        plain_list = await wrk(bench, f"{CONFIG_MAPS}?resourceVersion=0", connections=4)
        custom_list = await wrk(bench, f"{WIDGETS}?resourceVersion=0", connections=4)
    return [
        Result("custom-create", custom_rate, "/s", "ConfigMaps", plain_rate, "≥ 400 /s with 10 rules", custom_rate >= 400),
        Result("custom-list", custom_list, "/s", "ConfigMaps", plain_list, "≥ 0.9 × ConfigMaps", custom_list >= 0.9 * plain_list),
    ]
