"""What a caller who is known may send to hold others up: as large as bodies may be, and no larger than is answered with care."""

from __future__ import annotations

import json
from typing import Any

MEBIBYTE = 1024 * 1024
CONFIG_MAPS, PODS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/pods"
STRATEGIC, JSON_PATCH, MERGE = (f"application/{name}+json" for name in ("strategic-merge-patch", "json-patch", "merge-patch"))


def config_map(data: dict[str, Any], **metadata: Any) -> bytes:
    return json.dumps({"metadata": {"generateName": "m-", **metadata}, "data": data}).encode()


def pod(**container: Any) -> bytes:
    return json.dumps({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "x", **container}]}}).encode()


def requests() -> dict[str, tuple[str, str, str, bytes]]:
    """By name: method, path, content type and body."""
    containers = [{"name": f"c{number}", "image": "x"} for number in range(20_000)]
    strays = {f"x{number}": 1 for number in range(45_000)}
    json_type, yaml_type = "application/json", "application/yaml"
    env = [{"name": f"a{number}"} for number in range(100_000)]
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in range(1, 9):
        bomb += f"a{level}: &a{level} [" + ",".join([f"*a{level - 1}"] * 10) + "]\n"
    finalizers = [f"a/{number}" for number in range(45_000)]
    lines = "".join(f"  k{number}: v{number}\n" for number in range(45_000))
    copies = [{"op": "copy", "from": "/data", "path": f"/data/c{number}"} for number in range(10_000)]
    return {
        "deep yaml": ("POST", CONFIG_MAPS, yaml_type, b"a: " + b"[" * 100_000),
        "yaml aliases": ("POST", CONFIG_MAPS, yaml_type, bomb.encode()),
        "much yaml": ("POST", CONFIG_MAPS, yaml_type, b"metadata: {generateName: m-}\ndata:\n" + lines.encode()),
        "many keys": ("POST", CONFIG_MAPS, json_type, config_map({f"k{number}": "" for number in range(45_000)})),
        "too many keys": ("POST", CONFIG_MAPS, json_type, config_map({f"k{number}": "" for number in range(150_000)})),
        "one large value": ("POST", CONFIG_MAPS, json_type, config_map({"a": "x" * (MEBIBYTE - 1024)})),
        "unknown fields": ("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", json_type, config_map({}, **strays)),
        "annotations": ("POST", CONFIG_MAPS, json_type, config_map({}, annotations={f"k{number}": "" for number in range(45_000)})),
        "variables": ("POST", PODS, json_type, pod(env=env[:8192])),
        "too many variables": ("POST", PODS, json_type, pod(env=env)),
        "ports": ("POST", PODS, json_type, pod(ports=[{"containerPort": 1}] * 45_000)),
        "containers": (
            "POST", PODS, json_type,
            json.dumps({"metadata": {"name": "p"}, "spec": {"containers": containers}}).encode(),
        ),
        "strategic finalizers": ("PATCH", f"{CONFIG_MAPS}/old", STRATEGIC, json.dumps({"metadata": {"finalizers": finalizers}}).encode()),
        "merged keys": ("PATCH", f"{CONFIG_MAPS}/old", MERGE, json.dumps({"data": {f"k{n}": "" for n in range(45_000)}}).encode()),
        "copies": ("PATCH", f"{CONFIG_MAPS}/old", JSON_PATCH, json.dumps(copies).encode()),
        "selector": ("GET", f"{CONFIG_MAPS}?labelSelector=" + ",".join(f"a{n}" for n in range(8000)), json_type, b""),
    }  # fmt: skip
