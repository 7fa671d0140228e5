"""What a program written with kr8s does with a pod and with other objects.

Run as ``python -W ignore kr8s_client.py KUBECONFIG``: kr8s leaves connections open and warns of versions that it does not know.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import kr8s
import kr8s.asyncio
from kr8s.asyncio.objects import ConfigMap, Deployment, Pod


async def run(kubeconfig: str) -> dict[str, Any]:
    api = await kr8s.asyncio.api(kubeconfig=kubeconfig)
    pod = await Pod.get("p", namespace="default", api=api)
    found: dict[str, Any] = {}
    for name, command in (("echo", ["echo", "hello"]), ("exit", ["exit", "3"])):
        done = await pod.exec(command, check=False)
        found[name] = [done.stdout.decode(), done.stderr.decode(), done.returncode]
    async with pod.portforward(remote_port=80, local_port="auto") as port:
        found["forwarded"] = []
        for said in (b"one", b"two"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            found["forwarded"].append((await reader.readexactly(8)).decode())
            writer.close()
            await writer.wait_closed()
    return {**found, **await objects(api)}


async def objects(api: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"version": (await api.version())["major"]}
    made = await ConfigMap({"metadata": {"name": "kr8s", "namespace": "default"}, "data": {"a": "b"}}, api=api)
    await made.create()
    await made.patch({"data": {"c": "d"}})
    await made.label({"x": "y"})
    await made.annotate({"n": "o"})
    found["data"], found["selected"] = (
        made.raw["data"],
        [one.name async for one in api.get("cm", namespace="default", label_selector="x=y")],
    )
    async for change, one in api.watch("configmaps", namespace="default", label_selector="x=y"):
        if change == "ADDED":
            await made.delete()
        found["changes"] = [*found.get("changes", []), [change, one.name]]
        if change == "DELETED":
            break
    found["exists"] = await made.exists()
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = await Deployment({"metadata": {"name": "kr8s", "namespace": "default"}, "spec": spec}, api=api)
    await deployment.create()
    await deployment.patch({"spec": {"replicas": 2}})
    await deployment.refresh()
    found["replicas"] = deployment.replicas
    found["everywhere"] = [one.name async for one in api.get("deployments.apps", namespace=kr8s.ALL)]
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asyncio.wait_for(run(sys.argv[1]), 30))))
