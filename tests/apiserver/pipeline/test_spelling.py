"""How objects are spelled when they are stored, however they were written."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.node.v1 import node_pb2 as nodes
from knarr.machinery.errors import BadRequest, Invalid
from tests.apiserver.pipeline.world import config_map, deployment, fill, pod, ref, running
from tests.support.virtual_time import virtual_time


@virtual_time
async def test_amounts_finer_than_a_thousandth_are_rounded_up() -> None:
    async with running() as world:
        costly = nodes.RuntimeClass(metadata=meta.ObjectMeta(name="costly"), handler="h")
        costly.overhead.pod_fixed["cpu"].string = "0.00001"
        await fill(world, [costly])
        made = pod()
        made.spec.runtime_class_name, made.spec.overhead["cpu"].string = "costly", "0.00001"
        made.spec.containers[0].resources.requests["cpu"].string = "0.0001"
        made.spec.containers[0].resources.limits["cpu"].string = "100100u"
        made.spec.containers[0].resources.limits["memory"].string = "64Mi"
        for options in (meta.CreateOptions(dry_run=["All"]), meta.CreateOptions()):
            stored: Any = (await world.caller.create(ref(core.Pod), made, options)).message
            resources = stored.spec.containers[0].resources
            amounts = resources.requests["cpu"], resources.limits["cpu"], resources.limits["memory"], stored.spec.overhead["cpu"]
            assert [amount.string for amount in amounts] == ["1m", "101m", "64Mi", "1m"]


@virtual_time
async def test_amounts_are_rounded_wherever_they_stand() -> None:
    """In templates and in the status too, by updates and patches too."""
    async with running() as world:
        owner = deployment()
        owner.spec.template.spec.containers[0].resources.requests["cpu"].string = "1.0001"
        stored: Any = (await world.caller.create(ref(type(owner)), owner, meta.CreateOptions())).message
        assert stored.spec.template.spec.containers[0].resources.requests["cpu"].string == "1001m"
        await world.caller.create(ref(core.Node), core.Node(metadata=meta.ObjectMeta(name="n")), meta.CreateOptions())
        body = b'{"status":{"capacity":{"cpu":"0.0009","memory":"1500u"}}}'
        stored = (await world.caller.patch(ref(core.Node, "n", "status"), "merge", body, meta.PatchOptions())).message
        assert {name: amount.string for name, amount in stored.status.capacity.items()} == {"cpu": "1m", "memory": "2m"}


@virtual_time
async def test_a_malformed_amount_is_still_named() -> None:
    async with running() as world:
        made = pod()
        made.spec.containers[0].resources.requests["cpu"].string = "much"
        with pytest.raises(Invalid, match=r"requests\[cpu\]: Invalid value: \"much\": quantities must match"):
            await world.caller.create(ref(core.Pod), made, meta.CreateOptions())


@virtual_time
async def test_a_new_object_names_no_revision() -> None:
    """As in Kubernetes: 0 says that there is none, and so does what is no number (tests/peer/test_new_objects.py)."""
    async with running() as world:
        for number, given in enumerate(
            ("", "0", "00", "7", "18446744073709551615", "v1", "-1", "+7", "7.0", " 7", "1_0", "18446744073709551616", "٧")
        ):
            made = config_map(f"c{number}")
            made.metadata.resource_version = given
            if given not in ("7", "18446744073709551615"):
                stored = await world.caller.create(ref(core.ConfigMap), made, meta.CreateOptions())
                assert stored.created
                continue
            with pytest.raises(BadRequest, match="resourceVersion should not be set on objects to be created"):
                await world.caller.create(ref(core.ConfigMap), made, meta.CreateOptions())


@virtual_time
async def test_the_fields_by_which_pods_are_selected() -> None:
    async with running() as world:
        made = pod(on="n")
        await world.caller.create(ref(core.Pod), made, meta.CreateOptions())
        body = b'{"status":{"podIP":"10.0.0.7","podIPs":[{"ip":"10.0.0.7"}]}}'
        await world.caller.patch(ref(core.Pod, "p", "status"), "merge", body, meta.PatchOptions())
        for selector, found in {
            "spec.host=n": 1,
            "status.podIPs=10.0.0.7": 1,
            "status.podIPs=10.0.0.8": 0,
            "status.podIP=10.0.0.7": 1,
        }.items():
            page = await world.caller.list(ref(core.Pod), meta.ListOptions(field_selector=selector))
            assert len(page.entries) == found, selector
