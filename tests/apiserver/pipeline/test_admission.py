"""What plugins may do to a write, and in what order they and the server's own rules come."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Conflict, Forbidden, Invalid, NotFound
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, DELETE, UPDATE, Attributes
from services.apiserver.admission.chain import Chain
from services.apiserver.admission.plugin import Mutating, Validating
from tests.apiserver.pipeline.world import account, config_map, deployment, fill, namespace, node, pod, ref, running
from tests.support.caller import CALLER
from tests.support.signing import signing_request
from tests.support.virtual_time import virtual_time

CONFIG_MAPS = version_of(core.ConfigMap).resource


class Labels:
    """Labels what is written with the number of the times that it was asked."""

    name: ClassVar[str] = "Labels"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and resource is CONFIG_MAPS

    async def mutate(self, attributes: Attributes) -> bool:
        self.asked.append(attributes.name)
        attributes.obj.metadata.labels["asked"] = str(len(self.asked))
        return True


class Counts:
    """Validates only; keeps the labels of what it sees."""

    name: ClassVar[str] = "Counts"

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], str]] = []

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is CONFIG_MAPS

    async def validate(self, attributes: Attributes) -> None:
        found = attributes.obj.metadata
        self.seen.append((attributes.name, dict(found.labels), found.uid))


class Containers:
    """Adds a container that says nothing but its name and image, as a webhook might."""

    name: ClassVar[str] = "Containers"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource.plural == "pods" and not subresource

    async def mutate(self, attributes: Attributes) -> bool:
        attributes.obj.spec.containers.add(name="added", image="busybox")
        return True


def test_a_plugin_takes_part_in_the_phases_that_it_has() -> None:
    assert isinstance(Labels(), Mutating) and not isinstance(Labels(), Validating)
    assert isinstance(Counts(), Validating) and not isinstance(Counts(), Mutating)


def test_whether_a_plugin_handles_something_is_asked_once() -> None:
    class Asked(Labels):
        count = 0

        def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
            Asked.count += 1
            return super().handles(operation, resource, subresource)

    chain, where = Chain([Asked()]), ref(core.ConfigMap)
    assert chain.phases(CREATE, where) is chain.phases(CREATE, ref(core.ConfigMap, "other"))
    assert Asked.count == 1
    assert not chain.phases(DELETE, where) and chain.phases(CREATE, where)
    assert chain.phases(CREATE, ref(core.Pod)) is not chain.phases(CREATE, ref(core.Pod, "p", "binding"))


@virtual_time
async def test_validation_sees_what_mutation_and_the_server_made() -> None:
    counts = Counts()
    async with running(counts, Labels()) as world:
        written: Any = (await world.caller.create(ref(core.ConfigMap), config_map("a"), meta.CreateOptions())).message
        assert written.metadata.labels["asked"] == "1"
        assert counts.seen == [("a", {"asked": "1"}, written.metadata.uid)]


@virtual_time
async def test_mutation_comes_before_a_generated_name_and_validation_behind_it() -> None:
    labels, counts = Labels(), Counts()
    async with running(labels, counts) as world:
        unnamed = core.ConfigMap(metadata=meta.ObjectMeta(generate_name="g-"))
        written: Any = (await world.caller.create(ref(core.ConfigMap), unnamed, meta.CreateOptions())).message
        assert written.metadata.name.startswith("g-")
        assert labels.asked == [""] and [name for name, _, _ in counts.seen] == [written.metadata.name]


@virtual_time
async def test_what_a_plugin_adds_gets_its_defaults() -> None:
    async with running(Containers()) as world:
        written: Any = (await world.caller.create(ref(core.Pod), pod(), meta.CreateOptions())).message
        assert [container.name for container in written.spec.containers] == ["c", "added"]
        assert {container.termination_message_path for container in written.spec.containers} == {"/dev/termination-log"}


@virtual_time
async def test_what_a_plugin_made_wrong_is_refused_by_validation() -> None:
    async with running() as world:

        async def spoil(phase: str, attributes: Attributes) -> bool:
            attributes.obj.metadata.labels["bad label"] = "x"
            return True

        world.witness.act = spoil
        with pytest.raises(Invalid, match="bad label"):
            await world.caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions())
        assert [seen.phase for seen in world.witness.seen] == ["mutate"]


@virtual_time
async def test_a_patch_that_lost_a_race_is_mutated_anew_on_the_fresh_object() -> None:
    async with running() as world:
        await fill(world, [config_map(a="1")])
        bases: list[dict[str, str]] = []

        async def race(phase: str, attributes: Attributes) -> bool:
            if phase != "mutate" or attributes.user.name != "caller" or attributes.options.field_manager != "slow":
                return False
            bases.append(dict(attributes.old.data))
            if len(bases) == 1:
                await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"b":"2"}}', meta.PatchOptions(field_manager="fast"))
            attributes.obj.data["of"] = str(len(attributes.old.data))
            return True

        world.witness.act = race
        options = meta.PatchOptions(field_manager="slow")
        written: Any = (await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"c":"3"}}', options)).message
        assert bases == [{"a": "1"}, {"a": "1", "b": "2"}]
        assert dict(written.data) == {"a": "1", "b": "2", "c": "3", "of": "2"}


@virtual_time
async def test_admission_of_a_scale_may_change_the_scale() -> None:
    async with running() as world:
        await fill(world, [deployment()])

        async def limit(phase: str, attributes: Attributes) -> bool:
            if phase == "mutate":
                assert (attributes.old.spec.replicas, attributes.obj.spec.replicas) == (1, 9)
                attributes.obj.spec.replicas = 5
                return True
            assert attributes.obj.spec.replicas == 5
            return False

        world.witness.act = limit
        target = ref(apps.Deployment, "d", "scale")
        written: Any = (await world.caller.patch(target, "merge", b'{"spec":{"replicas":9}}', meta.PatchOptions())).message
        stored: Any = (await world.caller.get(ref(apps.Deployment, "d"))).message
        assert (written.spec.replicas, stored.spec.replicas, stored.metadata.generation) == (5, 5, 2)


@virtual_time
async def test_dry_run_and_options_are_told() -> None:
    async with running() as world:
        await fill(world, [config_map(), pod(on=""), node()])
        seen: list[tuple[str, bool, str]] = []

        async def look(phase: str, attributes: Attributes) -> bool:
            seen.append((attributes.operation, attributes.dry_run, type(attributes.options).__name__))
            return False

        world.witness.act = look
        await world.caller.create(ref(core.ConfigMap), config_map("new"), meta.CreateOptions(dry_run=["All"]))
        await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"a":"b"}}', meta.PatchOptions(dry_run=["All"]))
        await world.caller.delete(ref(core.ConfigMap, "c"), meta.DeleteOptions(dry_run=["All"]))
        await world.caller.delete(ref(core.ConfigMap, "c"), meta.DeleteOptions())
        assert (
            seen[::2]
            == seen[1::2]
            == [
                ("CREATE", True, "CreateOptions"),
                ("UPDATE", True, "PatchOptions"),
                ("DELETE", True, "DeleteOptions"),
                ("DELETE", False, "DeleteOptions"),
            ]
        )


@virtual_time
async def test_each_object_of_a_collection_is_admitted_by_itself() -> None:
    async with running() as world:
        await fill(world, [config_map(name) for name in ("a", "b", "c")])

        async def spare(phase: str, attributes: Attributes) -> bool:
            if attributes.old.metadata.name == "b":
                raise Forbidden(meta.Status(message="b stays", reason="Forbidden", code=403))
            return False

        world.witness.act = spare
        with pytest.raises(Forbidden, match="b stays"):
            await world.caller.delete_collection(ref(core.ConfigMap), meta.DeleteOptions(), meta.ListOptions())
        left = await world.caller.list(ref(core.ConfigMap), meta.ListOptions())
        assert [entry.name for entry in left.entries] == ["b", "c"]
        assert len(world.guard.asked) == 2


@virtual_time
async def test_namespaces_must_exist_and_live_for_everything_that_is_created_in_them() -> None:
    async with running() as world:
        with pytest.raises(NotFound, match='namespaces "nope" not found'):
            await world.caller.create(ref(core.ConfigMap, namespace="nope"), config_map(), meta.CreateOptions())
        await world.caller.create(ref(core.Namespace), namespace("going"), meta.CreateOptions())
        await world.caller.create(ref(core.ServiceAccount, namespace="going"), account(), meta.CreateOptions())
        await world.caller.create(ref(core.Pod, namespace="going"), pod(), meta.CreateOptions())
        await world.caller.delete(ref(core.Namespace, "going"), meta.DeleteOptions())
        binding = core.Binding(metadata=meta.ObjectMeta(name="p"), target=core.ObjectReference(name="n"))
        for call in (
            world.caller.create(ref(core.ConfigMap, namespace="going"), config_map(), meta.CreateOptions()),
            world.caller.create(ref(core.Pod, "p", "binding", "going"), binding, meta.CreateOptions()),
        ):
            with pytest.raises(Forbidden, match="unable to create new content in namespace going because it is being terminated"):
                await call
        await world.caller.patch(ref(core.Pod, "p", namespace="going"), "merge", b'{"metadata":{"labels":{"a":"b"}}}', meta.PatchOptions())
        with pytest.raises(Forbidden, match="this namespace may not be deleted"):
            await world.caller.delete(ref(core.Namespace, "default"), meta.DeleteOptions())


@virtual_time
async def test_a_stale_precondition_is_told_before_admission_is_asked() -> None:
    async with running() as world:
        await fill(world, [config_map()])
        stale = config_map(a="b")
        stale.metadata.resource_version = "1"
        with pytest.raises(Conflict):
            await world.caller.update(ref(core.ConfigMap, "c"), stale, meta.UpdateOptions())
        with pytest.raises(Conflict):
            uid = meta.DeleteOptions(preconditions=meta.Preconditions(uid="another"))
            await world.caller.delete(ref(core.ConfigMap, "c"), uid)
        assert world.witness.seen == []


@virtual_time
async def test_admissions_wait_side_by_side() -> None:
    """A slow plugin holds up its own request only."""
    async with running() as world:

        async def wait(phase: str, attributes: Attributes) -> bool:
            if attributes.name == "slow":
                await asyncio.sleep(20)
            return False

        world.witness.act = wait
        slow = asyncio.create_task(world.caller.create(ref(core.ConfigMap), config_map("slow"), meta.CreateOptions()))
        await asyncio.sleep(1)
        await world.caller.create(ref(core.ConfigMap), config_map("quick"), meta.CreateOptions())
        assert not slow.done() and asyncio.get_running_loop().time() == 1
        await slow
        assert asyncio.get_running_loop().time() == 40


@virtual_time
async def test_who_asks_for_a_certificate_is_written_by_the_server() -> None:
    request = certificates.CertificateSigningRequest(metadata=meta.ObjectMeta(name="r"))
    request.spec.request, request.spec.signer_name = signing_request("someone"), "example.com/signer"
    request.spec.usages.append("client auth")
    request.spec.username = "the president"
    request.spec.groups.append("system:masters")
    async with running() as world:
        made: Any = (await world.caller.create(ref(certificates.CertificateSigningRequest), request, meta.CreateOptions())).message
        assert (made.spec.username, made.spec.uid, tuple(made.spec.groups)) == (CALLER.name, CALLER.uid, CALLER.groups)
        made.spec.username = "the president"
        where = ref(certificates.CertificateSigningRequest, "r")
        kept: Any = (await world.caller.update(where, made, meta.UpdateOptions())).message
        assert kept.spec.username == CALLER.name

        async def pretend(phase: str, attributes: Attributes) -> bool:
            if phase == "mutate":
                attributes.obj.spec.groups.append("system:masters")
            return phase == "mutate"

        world.witness.act = pretend
        request.metadata.name = "other"
        with pytest.raises(Forbidden, match="who asks for a certificate is the server's to say"):
            await world.caller.create(ref(certificates.CertificateSigningRequest), request, meta.CreateOptions())


@virtual_time
async def test_nobody_takes_a_new_object_for_one_that_is_being_deleted() -> None:
    async with running() as world:
        seen: list[str] = []

        async def note(phase: str, attributes: Attributes) -> bool:
            found = [field.name for field, _ in attributes.obj.metadata.ListFields() if field.name != "managed_fields"]
            seen.append(f"{phase}: {', '.join(found)}")
            return False

        world.witness.act = note
        new = config_map()
        new.metadata.uid, new.metadata.self_link, new.metadata.deletion_grace_period_seconds = "mine", "/mine", 5
        for field in (new.metadata.creation_timestamp, new.metadata.deletion_timestamp):
            field.seconds = 1
        await world.caller.create(ref(core.ConfigMap), new, meta.CreateOptions())
        assert seen == ["mutate: name, namespace", "validate: name, namespace, uid, creation_timestamp"]


@virtual_time
async def test_each_of_a_collection_is_deleted_in_its_own_namespace() -> None:
    async with running() as world:
        await world.caller.create(ref(core.Namespace), namespace("other"), meta.CreateOptions())
        for where in ("default", "other"):
            await world.caller.create(ref(core.ConfigMap, namespace=where), config_map(), meta.CreateOptions())
        world.forget()

        async def warn(phase: str, attributes: Attributes) -> bool:
            attributes.request.warn(f"gone from {attributes.namespace}")
            return False

        world.witness.act = warn
        request = world.caller.request("deletecollection", ref(core.ConfigMap, namespace=""), meta.DeleteOptions())
        await world.caller.api.delete_collection(request, meta.ListOptions())
        assert [seen.namespace for seen in world.witness.seen if seen.phase == "validate"] == ["default", "other"]
        assert list(request.warnings) == ["gone from default", "gone from other"]
