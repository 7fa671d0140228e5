"""A container of a real engine has the device that a driver made ready for its claim, and no other container has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from tests.kubelet.devices.device_world import hurry, using, world
from tests.kubelet.docker_support import docker

pytestmark = pytest.mark.docker
# Reads nothing of it, writes to it, and tells what kind of thing it is.
LOOK = "(echo $CARD_CARD; cat /dev/card; echo lost > /dev/card; test -c /dev/card && echo device; ls /dev/card) > /dev/termination-log 2>&1"


def told(pod: core.Pod, name: str) -> str:
    (status,) = (found for found in pod.status.container_statuses if found.name == name)
    return str(status.state.terminated.message)


def looking(image: str) -> core.Pod:
    pod = using(restart_policy="Never")
    pod.spec.containers.add(name="plain", image_pull_policy="IfNotPresent")
    for spec in pod.spec.containers:
        spec.image = image
        spec.command.extend(["sh", "-c", LOOK])
    return pod


async def test_a_container_has_its_device_and_another_of_the_pod_has_not(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    async with docker() as (runtime, _, image), world(place, runtime=runtime) as w:
        await w.claim("card", "web")
        w.api.seed(looking(image))
        done = await w.c.phase("Succeeded")
        assert told(done, "app") == "yes\ndevice\n/dev/card\n"
        assert "device" not in told(done, "plain").splitlines() and "yes" not in told(done, "plain")
        # It has ended, so its devices were given back, also while the pod is there.
        assert not w.driver.ready and not w.records
        await w.end_pod()
