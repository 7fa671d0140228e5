"""Ephemeral containers: they come to a pod that runs, and neither go nor change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Forbidden, Invalid
from tests.apiserver.pipeline.world import World, fill, node, pod, ref, running
from tests.support.virtual_time import virtual_time


async def debug(world: World, *containers: dict[str, Any], kind: str = "merge") -> Any:
    body = json.dumps({"metadata": {"labels": {"dropped": "yes"}}, "spec": {"nodeName": "other", "ephemeralContainers": containers}})
    return await world.caller.patch(ref(core.Pod, "p", "ephemeralcontainers"), kind, body.encode(), meta.PatchOptions())


async def begin(world: World) -> None:
    made = pod(on="n")
    made.spec.volumes.add(name="v").volume_source.empty_dir.SetInParent()
    await fill(world, [node(), made])


ONE, TWO = {"name": "one", "image": "busybox"}, {"name": "two", "image": "busybox", "targetContainerName": "c"}


@virtual_time
async def test_ephemeral_containers_come_and_stay_and_nothing_else_is_taken() -> None:
    async with running() as world:
        await begin(world)
        written = await debug(world, ONE)
        stored = written.message
        assert [container.ephemeral_container_common.name for container in stored.spec.ephemeral_containers] == ["one"]
        assert stored.spec.ephemeral_containers[0].ephemeral_container_common.image_pull_policy == "Always"
        assert (stored.spec.node_name, dict(stored.metadata.labels), stored.metadata.generation) == ("n", {}, 2)
        assert list(written.warnings) == []
        written = await debug(world, TWO, kind="strategic")
        assert [container.ephemeral_container_common.name for container in written.message.spec.ephemeral_containers] == ["two", "one"]
        # The kubelet's own writes are not hindered by what is there now.
        status = core.Pod.FromString(written.message.SerializeToString())
        status.status.phase = "Running"
        await world.caller.update(ref(core.Pod, "p", "status"), status, meta.UpdateOptions())


@virtual_time
async def test_what_is_there_neither_goes_nor_changes() -> None:
    async with running() as world:
        await begin(world)
        await debug(world, ONE)
        for containers, words in (
            ((), 'existing ephemeral containers "one" may not be removed'),
            (({**ONE, "image": "other"},), 'existing ephemeral containers "one" may not be changed'),
        ):
            with pytest.raises(Invalid, match=words):
                await debug(world, *containers)


@pytest.mark.parametrize(
    ("container", "field", "words"),
    [
        ({"image": "busybox"}, "name", "Required value"),
        ({**ONE, "name": "c"}, "name", 'Duplicate value: "c"'),
        ({"name": "one"}, "image", "Required value"),
        ({**ONE, "targetContainerName": "none"}, "targetContainerName", 'Not found: "none"'),
        ({**ONE, "ports": [{"containerPort": 80}]}, "ports", "Forbidden: cannot be set for an Ephemeral Container"),
        ({**ONE, "resources": {"limits": {"cpu": "1"}}}, "resources", "Forbidden: cannot be set for an Ephemeral Container"),
        ({**ONE, "livenessProbe": {"exec": {"command": ["x"]}}}, "livenessProbe", "Forbidden: cannot be set for an Ephemeral Container"),
        ({**ONE, "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}, "lifecycle", "Forbidden: cannot be set for an Ephemeral Container"),
        (
            {**ONE, "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]},
            "volumeMounts[0].subPath", "Forbidden: cannot be set for an Ephemeral Container",
        ),
    ],
)  # fmt: skip
def test_what_an_ephemeral_container_may_not_be(container: dict[str, Any], field: str, words: str) -> None:
    @virtual_time
    async def run() -> None:
        async with running() as world:
            await begin(world)
            with pytest.raises(Invalid) as caught:
                await debug(world, container)
            causes = [(cause.field, cause.message) for cause in caught.value.status.details.causes]
            assert causes == [(f"spec.ephemeralContainers[0].{field}", words)]

    run()


@virtual_time
async def test_what_no_node_does_for_it_is_told() -> None:
    async with running() as world:
        await begin(world)
        written = await debug(world, {**ONE, "securityContext": {"windowsOptions": {"runAsUserName": "x"}}})
        assert [words.partition(":")[0] for words in written.warnings] == ["spec.ephemeralContainers[0].securityContext.windowsOptions"]
        # Of what was there before nobody hears again.
        written = await debug(world, TWO, kind="strategic")
        assert list(written.warnings) == []


@virtual_time
async def test_its_account_may_limit_the_secrets_that_it_reads() -> None:
    async with running() as world:
        await begin(world)
        strict: Any = (await world.caller.get(ref(core.ServiceAccount, "default"))).message
        strict.metadata.annotations["kubernetes.io/enforce-mountable-secrets"] = "true"
        await world.caller.update(ref(core.ServiceAccount, "default"), strict, meta.UpdateOptions())
        reads = {**ONE, "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "foreign", "key": "k"}}}]}
        words = (
            'ephemeral container one with envVar E referencing secret.secretName="foreign" is not allowed because service account default'
        )
        with pytest.raises(Forbidden, match=words):
            await debug(world, reads)
        await debug(world, ONE)


@virtual_time
async def test_a_static_pod_has_none() -> None:
    async with running() as world:
        made = pod(on="n")
        made.metadata.annotations["kubernetes.io/config.mirror"] = "hash"
        await fill(world, [node(), made])
        with pytest.raises(Invalid, match="static pods do not support ephemeral containers"):
            await debug(world, ONE)


@virtual_time
async def test_one_that_has_ended_stays_so_whatever_the_pod_restarts() -> None:
    async with running() as world:
        await begin(world)
        stored: Any = (await debug(world, ONE)).message
        told = stored.status.ephemeral_container_statuses.add(name="one")
        told.state.terminated.exit_code = 1
        ended: Any = (await world.caller.update(ref(core.Pod, "p", "status"), stored, meta.UpdateOptions())).message
        ended.status.ephemeral_container_statuses[0].state.Clear()
        ended.status.ephemeral_container_statuses[0].state.running.SetInParent()
        with pytest.raises(Invalid, match="may not be transitioned to non-terminated state"):
            await world.caller.update(ref(core.Pod, "p", "status"), ended, meta.UpdateOptions())
