"""A kubelet in a process of its own, to be killed: ``python -m tests.kubelet.runtime.docker.adoptee <folder> <settings> <image> <uid>``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.docker import DockerRuntime, DockerSettings
from tests.kubelet.support import make_pod, running
from tests.support.api import FaultyApi


def adopted_pod(image: str, uid: str) -> core.Pod:
    pod = make_pod("kept")
    pod.metadata.uid = uid
    pod.spec.containers[0].image = image
    pod.spec.containers[0].command.extend(["sleep", "1000"])
    return pod


async def main(data_dir: str, settings: str, image: str, uid: str) -> None:
    api = FaultyApi()
    api.seed(adopted_pod(image, uid))
    async with running(DockerRuntime(DockerSettings(**json.loads(settings))), Path(data_dir), api) as cluster:
        await cluster.ready("kept")
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
