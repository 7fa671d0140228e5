"""A container of a real engine writes to a volume of a real driver, and the next one finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubelet.csi.driver_world import hurry, needs_mounts, using, world
from tests.kubelet.docker_support import docker

pytestmark = [pytest.mark.docker, needs_mounts]


async def test_what_a_container_writes_is_there_for_the_next(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    async with docker() as (runtime, _, image), world(place, runtime=runtime) as w:
        for _ in range(2):
            pod = using(restart_policy="Never")
            pod.spec.containers[0].image = image
            pod.spec.containers[0].command.extend(["sh", "-c", "echo row >> /data/rows; cat /data/rows > /dev/termination-log"])
            await w.c.client.create(pod)
            done = await w.c.phase("Succeeded")
            told = done.status.container_statuses[0].state.terminated.message
            # What has ended holds nothing, also while the pod is there.
            await w.clean()
            await w.end_pod()
        assert told == "row\nrow\n"
        assert (w.disk().path / "rows").read_text() == "row\nrow\n"
