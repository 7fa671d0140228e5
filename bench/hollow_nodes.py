"""``python -m bench.hollow_nodes ENDPOINT CA TOKEN COUNT``: kubelets whose containers are simulated, all in this process.

Prints a line once all of them are ready, and goes on until it is terminated; nothing is left then. A pod starts as soon as it is bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from knarr.client.channel import open_channel
from knarr.client.rpc import RpcClient
from services.kubelet.component import Kubelet
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.settings import KubeletSettings

POLL_SECONDS = 0.05


async def main(endpoint: str, ca_certificate: bytes, token: str, count: int) -> None:
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with tempfile.TemporaryDirectory(prefix="knarr-hollow-") as folder:
        client = RpcClient(open_channel(endpoint, ca_certificate, token))
        kubelets = [Kubelet(client, settings, HollowRuntime(settings.pod_cidr)) for settings in _settings(Path(folder), count)]
        async with asyncio.TaskGroup() as group:
            for kubelet in kubelets:
                group.create_task(kubelet.run())
            while not all(kubelet.ready for kubelet in kubelets):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
            print("ready", flush=True)


def _settings(folder: Path, count: int) -> list[KubeletSettings]:
    names = [f"hollow-{number}" for number in range(1, count + 1)]
    return [
        KubeletSettings(node_name=name, data_dir=folder / name, node_ip=f"192.0.2.{number}", pod_cidr=f"10.245.{number}.0/24")
        for number, name in enumerate(names, 1)
    ]


if __name__ == "__main__":
    # On the loop that a component has which is a process of its own.
    with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes(), sys.argv[3], int(sys.argv[4])))
