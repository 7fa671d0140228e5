"""What a program written with kr8s does with a pod; run as ``python -W ignore kr8s_client.py KUBECONFIG``: kr8s leaves connections open
and warns of versions that it does not know."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import kr8s.asyncio
from kr8s.asyncio.objects import Pod


async def run(kubeconfig: str) -> dict[str, Any]:
    api = await kr8s.asyncio.api(kubeconfig=kubeconfig)
    pod = await Pod.get("p", namespace="default", api=api)
    found: dict[str, Any] = {}
    for name, command in (("echo", ["echo", "hello"]), ("exit", ["exit", "3"])):
        done = await pod.exec(command, check=False)
        found[name] = [done.stdout.decode(), done.stderr.decode(), done.returncode]
    async with pod.portforward(remote_port=80) as port:
        found["forwarded"] = []
        for said in (b"one", b"two"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            found["forwarded"].append((await reader.readexactly(8)).decode())
            writer.close()
            await writer.wait_closed()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asyncio.wait_for(run(sys.argv[1]), 30))))
