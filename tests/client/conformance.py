"""What every ``Client`` must do. Subclass it and give a ``client`` fixture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import ADDED, BOOKMARK, DELETED, MODIFIED, Client, WatchEvent
from knarr.machinery.errors import AlreadyExists, BadRequest, Conflict, NotFound, ServiceUnavailable, StatusError
from knarr.objects.copies import copy_of
from tests.client.objects import binding, config_map, pod

PATIENCE_SECONDS = 10


async def refused(kind: type[StatusError], call: object) -> StatusError:
    with pytest.raises(kind) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def take(stream: AsyncIterator[Sequence[WatchEvent[core.ConfigMap]]], count: int) -> list[tuple[str, str]]:
    """The next ``count`` events, bookmarks left out, as (type, name)."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < count:
            found += [(event.type, event.object.metadata.name) for event in await anext(stream) if event.type != BOOKMARK]
    return found


class ClientConformance:
    async def test_create_fills_in_metadata(self, client: Client) -> None:
        created = await client.create(config_map("a", key="value"))
        assert created.metadata.uid and created.metadata.resource_version and created.metadata.creation_timestamp.seconds
        assert await client.get(core.ConfigMap, "a", "default") == created

    async def test_create_twice_is_refused(self, client: Client) -> None:
        await client.create(config_map("a"))
        error = await refused(AlreadyExists, client.create(config_map("a")))
        assert error.code == 409 and str(error) == 'configmaps "a" already exists'

    async def test_generate_name_makes_different_names(self, client: Client) -> None:
        template = config_map("")
        template.metadata.generate_name = "some-"
        names = {(await client.create(template)).metadata.name for _ in range(3)}
        assert len(names) == 3 and all(name.startswith("some-") and len(name) == 10 for name in names)

    async def test_missing_objects_are_not_found(self, client: Client) -> None:
        error = await refused(NotFound, client.get(core.ConfigMap, "gone", "default"))
        assert str(error) == 'configmaps "gone" not found' and error.status.details.kind == "configmaps"
        await refused(NotFound, client.update(config_map("gone")))
        await refused(NotFound, client.delete(core.ConfigMap, "gone", "default"))

    async def test_update_of_an_old_version_conflicts(self, client: Client) -> None:
        first = await client.create(config_map("a"))
        newer = copy_of(first)
        newer.data["k"] = "1"
        newer = await client.update(newer)
        assert newer.metadata.resource_version != first.metadata.resource_version
        stale = copy_of(first)
        stale.data["k"] = "2"
        await refused(Conflict, client.update(stale))
        assert (await client.get(core.ConfigMap, "a", "default")).data["k"] == "1"

    async def test_update_without_a_change_keeps_the_revision(self, client: Client) -> None:
        created = await client.create(config_map("a"))
        assert (await client.update(created)).metadata.resource_version == created.metadata.resource_version

    async def test_status_and_spec_are_written_apart(self, client: Client) -> None:
        created = await client.create(pod())
        changed = copy_of(created)
        changed.status.phase = "Running"
        changed.metadata.labels["colour"] = "red"
        after_main = await client.update(changed)
        assert after_main.status.phase == "Pending" and after_main.metadata.labels["colour"] == "red"
        changed = copy_of(after_main)
        changed.status.phase = "Running"
        changed.metadata.labels["colour"] = "blue"
        after_status = await client.update(changed, subresource="status")
        assert after_status.status.phase == "Running"
        assert (await client.get(core.Pod, "p", "default")).spec == created.spec

    async def test_list_selects(self, client: Client) -> None:
        await client.create(config_map("a", labels={"app": "x"}))
        await client.create(config_map("b", labels={"app": "y"}))
        await client.create(config_map("c"))

        async def names(**selectors: str) -> list[str]:
            return [obj.metadata.name for obj in (await client.list(core.ConfigMap, "default", **selectors)).items]  # type: ignore[arg-type]

        assert await names() == ["a", "b", "c"]
        assert await names(label_selector="app=x") == ["a"]
        assert await names(label_selector="app in (x, y), app != x") == ["b"]
        assert await names(label_selector="!app") == ["c"]
        assert await names(field_selector="metadata.name=b") == ["b"]

    async def test_selectors_name_fields_that_can_be_selected(self, client: Client) -> None:
        error = await refused(BadRequest, client.list(core.Pod, field_selector="spec.nope=1"))
        assert str(error) == "field label not supported: spec.nope"

    async def test_an_object_of_a_namespaced_kind_says_where_it_is(self, client: Client) -> None:
        await refused(BadRequest, client.create(config_map("a", namespace="")))

    async def test_list_pages_show_one_revision(self, client: Client) -> None:
        for name in "abcde":
            await client.create(config_map(name))
        page = await client.list(core.ConfigMap, "default", limit=2)
        revision, found = page.resource_version, [*page.items]
        await client.create(config_map("bb"))
        while page.continue_token:
            page = await client.list(core.ConfigMap, "default", limit=2, continue_token=page.continue_token)
            found += page.items
            assert page.resource_version == revision
        assert [obj.metadata.name for obj in found] == ["a", "b", "c", "d", "e"]

    async def test_watch_tells_changes_in_order(self, client: Client) -> None:
        start = (await client.list(core.ConfigMap, "default")).resource_version
        created = await client.create(config_map("a"))
        created.data["k"] = "v"
        updated = await client.update(created)
        await client.delete(core.ConfigMap, "a", "default")
        async with aclosing(client.watch(core.ConfigMap, "default", resource_version=start)) as stream:  # type: ignore[type-var]
            assert await take(stream, 3) == [(ADDED, "a"), (MODIFIED, "a"), (DELETED, "a")]
        async with aclosing(client.watch(core.ConfigMap, "default", resource_version=updated.metadata.resource_version)) as stream:  # type: ignore[type-var]
            assert await take(stream, 1) == [(DELETED, "a")]

    async def test_watch_with_a_selector_sees_objects_come_and_go(self, client: Client) -> None:
        start = (await client.list(core.ConfigMap, "default")).resource_version
        obj = await client.create(config_map("a"))
        obj.metadata.labels["in"] = "yes"
        obj = await client.update(obj)
        del obj.metadata.labels["in"]
        await client.update(obj)
        async with aclosing(client.watch(core.ConfigMap, "default", resource_version=start, label_selector="in=yes")) as stream:  # type: ignore[type-var]
            assert await take(stream, 2) == [(ADDED, "a"), (DELETED, "a")]

    async def test_patches(self, client: Client) -> None:
        await client.create(config_map("a", keep="1", drop="2"))
        merged = await client.patch(core.ConfigMap, "a", "default", patch={"data": {"drop": None, "new": "3"}})
        assert dict(merged.data) == {"keep": "1", "new": "3"}
        steps = [{"op": "replace", "path": "/data/keep", "value": "4"}]
        assert (await client.patch(core.ConfigMap, "a", "default", patch=steps, patch_type="json")).data["keep"] == "4"
        await client.create(pod())
        patch = {"spec": {"containers": [{"name": "main", "image": "other"}]}}
        patched = await client.patch(core.Pod, "p", "default", patch=patch, patch_type="strategic")
        assert [container.image for container in patched.spec.containers] == ["other"]

    async def test_finalizers_hold_a_deleted_object(self, client: Client) -> None:
        obj = config_map("a")
        obj.metadata.finalizers.append("example.com/hold")
        await client.create(obj)
        await client.delete(core.ConfigMap, "a", "default")
        going = await client.get(core.ConfigMap, "a", "default")
        assert going.metadata.HasField("deletion_timestamp")
        del going.metadata.finalizers[:]
        await client.update(going)
        await refused(NotFound, client.get(core.ConfigMap, "a", "default"))

    async def test_delete_preconditions(self, client: Client) -> None:
        created = await client.create(config_map("a"))
        await refused(Conflict, client.delete(core.ConfigMap, "a", "default", uid="another"))
        await refused(Conflict, client.delete(core.ConfigMap, "a", "default", resource_version="1"))
        await client.delete(core.ConfigMap, "a", "default", uid=created.metadata.uid)

    async def test_pods_on_a_node_end_gracefully(self, client: Client) -> None:
        await client.create(pod())
        await client.create(binding("default", "node-1"), subresource="binding", name="p")
        await client.delete(core.Pod, "p", "default", grace_period_seconds=20)
        going = await client.get(core.Pod, "p", "default")
        assert going.metadata.deletion_grace_period_seconds == 20 and going.metadata.HasField("deletion_timestamp")
        await client.delete(core.Pod, "p", "default", grace_period_seconds=0)
        await refused(NotFound, client.get(core.Pod, "p", "default"))

    async def test_pods_without_a_node_end_at_once(self, client: Client) -> None:
        await client.create(pod())
        await client.delete(core.Pod, "p", "default")
        await refused(NotFound, client.get(core.Pod, "p", "default"))

    async def test_binding_happens_once(self, client: Client) -> None:
        await client.create(pod())
        await client.create(binding("default", "node-1"), subresource="binding", name="p")
        bound = await client.get(core.Pod, "p", "default")
        assert bound.spec.node_name == "node-1"
        assert [(condition.type, condition.status) for condition in bound.status.conditions] == [("PodScheduled", "True")]
        await refused(Conflict, client.create(binding("default", "node-2"), subresource="binding", name="p"))

    async def test_what_nobody_serves_elsewhere(self, client: Client) -> None:
        asking = client.ask_elsewhere("external.metrics.k8s.io", "depth", "default", query={"labelSelector": "a=b"})
        await refused(ServiceUnavailable, asking)

    async def test_scale_changes_replicas_only(self, client: Client) -> None:
        replica_set = apps.ReplicaSet()
        replica_set.metadata.name, replica_set.metadata.namespace = "rs", "default"
        replica_set.spec.replicas = 1
        replica_set.spec.selector.match_labels["app"] = replica_set.spec.template.metadata.labels["app"] = "x"
        replica_set.spec.template.spec.containers.add(name="main", image="busybox")
        created = await client.create(replica_set)
        await client.patch(apps.ReplicaSet, "rs", "default", patch={"spec": {"replicas": 4}}, subresource="scale")
        scaled = await client.get(apps.ReplicaSet, "rs", "default")
        assert scaled.spec.replicas == 4 and scaled.metadata.generation == created.metadata.generation + 1
        scale = await client.scale(apps.ReplicaSet, "rs", "default")
        assert (scale.spec.replicas, scale.metadata.uid, scale.status.selector) == (4, created.metadata.uid, "app=x")
        earlier = copy_of(scale)
        scale.spec.replicas = 2
        assert (await client.rescale(apps.ReplicaSet, scale)).spec.replicas == 2
        assert (await client.get(apps.ReplicaSet, "rs", "default")).spec.replicas == 2
        await refused(Conflict, client.rescale(apps.ReplicaSet, earlier))
        await refused(NotFound, client.scale(apps.ReplicaSet, "nobody", "default"))
        await client.create(pod())
        await refused(NotFound, client.scale(core.Pod, "p", "default"))
