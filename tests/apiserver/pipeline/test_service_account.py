"""As which account a pod runs, and what it gets from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Forbidden
from services.apiserver.storage.store import Put, Transaction
from tests.apiserver.pipeline.world import World, account, fill, namespace, pod, ref, running
from tests.support.virtual_time import virtual_time

MIRROR = "kubernetes.io/config.mirror"


async def create(world: World, obj: core.Pod, where: str = "default") -> Any:
    return (await world.caller.create(ref(core.Pod, namespace=where), obj, meta.CreateOptions())).message


@virtual_time
async def test_a_pod_runs_as_the_default_account_unless_it_says_another() -> None:
    async with running() as world:
        await fill(world, [account("robot")])
        assert (await create(world, pod("a"))).spec.service_account_name == "default"
        for number, field in enumerate(("service_account_name", "service_account")):
            other = pod(f"b{number}")
            setattr(other.spec, field, "robot")
            stored = await create(world, other)
            assert (stored.spec.service_account_name, stored.spec.service_account) == ("robot", "robot")


@virtual_time
async def test_a_pod_of_a_missing_account_is_refused_at_once() -> None:
    async with running() as world:
        lost = pod("")
        lost.metadata.generate_name, lost.spec.service_account_name = "lost-", "nobody"
        words = 'pods "lost-" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found'
        with pytest.raises(Forbidden) as refused:
            await create(world, lost)
        assert refused.value.status.message == words
        assert asyncio.get_running_loop().time() == 0


@virtual_time
async def test_the_default_account_is_waited_for() -> None:
    async with running() as world:
        await world.caller.create(ref(core.Namespace), namespace("new"), meta.CreateOptions())
        early = asyncio.create_task(create(world, pod(), "new"))
        await asyncio.sleep(0.35)
        assert not early.done()
        await world.caller.create(ref(core.ServiceAccount, namespace="new"), account(), meta.CreateOptions())
        assert (await early).spec.service_account_name == "default"


@virtual_time
async def test_a_default_account_that_does_not_come_is_not_waited_for_longer_than_kubernetes_does() -> None:
    async with running() as world:
        await world.caller.create(ref(core.Namespace), namespace("new"), meta.CreateOptions())
        with pytest.raises(Forbidden, match='service account new/default: serviceaccount "default" not found'):
            await create(world, pod(), "new")
        assert 0.9 <= asyncio.get_running_loop().time() <= 1.8


@virtual_time
async def test_pull_secrets_of_the_account_are_given_to_pods_that_name_none() -> None:
    async with running() as world:
        robot = account("robot")
        robot.image_pull_secrets.add(name="one")
        robot.image_pull_secrets.add(name="two")
        await fill(world, [robot])
        plain, own = pod("plain"), pod("own")
        plain.spec.service_account_name = own.spec.service_account_name = "robot"
        own.spec.image_pull_secrets.add(name="mine")
        assert [secret.name for secret in (await create(world, plain)).spec.image_pull_secrets] == ["one", "two"]
        assert [secret.name for secret in (await create(world, own)).spec.image_pull_secrets] == ["mine"]


@virtual_time
async def test_a_mirror_pod_has_no_account_and_no_secrets() -> None:
    async with running() as world:
        mirror = pod("m", on="n")
        mirror.metadata.annotations[MIRROR] = "hash"
        stored = await create(world, mirror)
        assert stored.spec.service_account_name == ""
        for name, spoil in {
            "may not reference service accounts": lambda spec: setattr(spec, "service_account_name", "default"),
            "may not reference secrets": lambda spec: spec.image_pull_secrets.add(name="s"),
        }.items():
            spoilt = pod("x", on="n")
            spoilt.metadata.annotations[MIRROR] = "hash"
            spoil(spoilt.spec)
            with pytest.raises(Forbidden, match=f'pods "x" is forbidden: a mirror pod {name}'):
                await create(world, spoilt)


@virtual_time
async def test_an_account_may_limit_the_secrets_of_its_pods_to_those_that_it_lists() -> None:
    async with running() as world:
        strict = account("strict")
        strict.metadata.annotations["kubernetes.io/enforce-mountable-secrets"] = "true"
        strict.secrets.add(name="known")
        strict.image_pull_secrets.add(name="pull")
        await fill(world, [strict])

        def using(known: bool, use: str) -> core.Pod:
            made, name = pod("known" if known else "foreign"), "known" if known else "foreign"
            made.spec.service_account_name = "strict"
            if use == "volume":
                made.spec.volumes.add(name="v").volume_source.secret.secret_name = name
            elif use == "pull":
                made.spec.image_pull_secrets.add(name="pull" if known else name)
            elif use == "env from":
                made.spec.containers[0].env_from.add().secret_ref.local_object_reference.name = name
            elif use == "init":
                first = made.spec.init_containers.add(name="i", image="busybox")
                first.env_from.add().secret_ref.local_object_reference.name = name
            else:
                reference = made.spec.containers[0].env.add(name="E").value_from.secret_key_ref
                reference.local_object_reference.name, reference.key = name, "k"
            return made

        not_allowed = "is not allowed because service account strict does not reference that"
        for use, words in {
            "volume": f'volume with secret.secretName="foreign" {not_allowed} secret',
            "env": f'container c with envVar E referencing secret.secretName="foreign" {not_allowed} secret',
            "env from": f'container c with envFrom referencing secret.secretName="foreign" {not_allowed} secret',
            "init": f'init container i with envFrom referencing secret.secretName="foreign" {not_allowed} secret',
            "pull": f'imagePullSecrets[0].name="foreign" {not_allowed} imagePullSecret',
        }.items():
            known = using(True, use)
            known.metadata.name = f"known-{use.replace(' ', '-')}"
            await create(world, known)
            with pytest.raises(Forbidden) as refused:
                await create(world, using(False, use))
            assert refused.value.status.message == f'pods "foreign" is forbidden: {words}'


@virtual_time
async def test_a_stored_pod_without_an_account_can_still_be_changed() -> None:
    """It is from before there was admission of accounts."""
    async with running() as world:
        mirror = pod("old", on="n")
        mirror.metadata.annotations[MIRROR] = "hash"
        await create(world, mirror)
        # A mirror has no account; as an older server would have stored it, it is none.
        (found,) = (await world.store.range("/registry/pods/")).items
        plain = found.value.replace(MIRROR.encode(), MIRROR.encode()[:-1] + b"x")
        await world.store.commit(Transaction({}, (Put(found.key, plain),)))
        body = b'{"metadata":{"labels":{"a":"b"}}}'
        patched: Any = (await world.caller.patch(ref(core.Pod, "old"), "merge", body, meta.PatchOptions())).message
        assert (patched.metadata.labels["a"], patched.spec.service_account_name) == ("b", "")
