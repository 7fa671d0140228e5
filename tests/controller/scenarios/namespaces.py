"""Namespaces, what is collected in them, and what they may hold."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from tests.controller.objects import (
    owned,
    pod,
    service,
)
from tests.controller.scenarios.services import running
from tests.controller.scenarios.steps import step
from tests.support.mishaps import World


def config(name: str, namespace: str = "default") -> core.ConfigMap:
    made = core.ConfigMap()
    made.metadata.name, made.metadata.namespace = name, namespace
    return made


async def namespaces(w: World) -> None:
    """A namespace with things in it goes; one of them is held for a while."""
    held, app = config("held", "team"), running("app", "10.244.0.1")
    held.metadata.finalizers.append("example.com/hold")
    app.metadata.namespace, app.spec.node_name = "team", ""
    w.api.seed(held, app, config("first", "team"), config("second", "team"))
    await w.client.delete(core.Namespace, "team")
    await step()
    await w.edit(core.ConfigMap, "held", lambda found: found.metadata.finalizers.remove("example.com/hold"), "team")
    await step()


def secret(name: str) -> core.Secret:
    made = core.Secret()
    made.metadata.name, made.metadata.namespace = name, "default"
    return made


async def collected(w: World) -> None:
    """Owners are deleted in each of the three ways; what they own has things of its own. Two own one another, one has two owners."""
    for name, propagation in (("back", "Background"), ("front", "Foreground"), ("orphaning", "Orphan")):
        owner = await w.client.create(config(name))
        dependent = await w.client.create(owned(config(f"{name}-a"), owner))
        await w.client.create(owned(config(f"{name}-b"), owner))
        await w.client.create(owned(config(f"{name}-a-below"), dependent))
        await step(5)
        await w.client.delete(core.ConfigMap, name, "default", propagation_policy=propagation)
        await step()
    first = await w.client.create(config("in-a-circle"))
    await w.client.create(owned(config("in-a-circle-too"), first))
    second = await w.client.get(core.ConfigMap, "in-a-circle-too", "default")
    await w.edit(core.ConfigMap, "in-a-circle", lambda found: owned(found, second))
    await w.client.delete(core.ConfigMap, "in-a-circle", "default", propagation_policy="Foreground")
    await step()
    hurried = await w.client.create(config("hurried"))
    await w.client.create(owned(secret("of-hurried"), hurried))
    await w.client.delete(core.ConfigMap, "hurried", "default", propagation_policy="Orphan")
    await step()
    first, second = await w.client.create(config("first")), await w.client.create(config("second"))
    await w.client.create(owned(owned(config("of-two"), first, controller=False), second))
    await w.client.delete(core.ConfigMap, "first", "default")
    await step()


async def quotas(w: World) -> None:
    """Two count, of which one is lowered and one goes; what they count is made, ends and goes."""
    await w.client.create(secret("before"))
    for name, hard in (("things", ("secrets", "count/secrets", "services")), ("pods", ("pods", "count/pods"))):
        quota = core.ResourceQuota(metadata=meta.ObjectMeta(name=name, namespace="default"))
        for amount in hard:
            quota.spec.hard[amount].string = "5"
        await w.client.create(quota)
    await step()
    await w.client.create(secret("after"))
    await w.client.create(service())
    for name in ("one", "two"):
        await w.client.create(pod(name))
    await w.client.delete(core.Secret, "before", "default")
    await step()
    await w.edit(core.Pod, "one", lambda found: setattr(found.status, "phase", "Failed"), subresource="status")
    await w.edit(core.ResourceQuota, "things", lambda found: found.spec.hard["secrets"].CopyFrom(meta.Quantity(string="1")))
    await step()
    await w.client.delete(core.Pod, "two", "default", grace_period_seconds=0)
    await w.client.delete(core.ResourceQuota, "things", "default")
    await step()
