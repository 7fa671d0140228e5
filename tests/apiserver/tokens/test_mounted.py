"""What the ServiceAccount admission adds to pods, so that they have their account's token."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from services.apiserver.in_memory import ApiInMemory
from tests.apiserver.tokens.conftest import pod

PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


async def test_every_container_sees_token_certificate_and_namespace(api: ApiInMemory) -> None:
    wanted = pod("new")
    wanted.spec.init_containers.add(name="first", image="busybox:local")
    found = await api.client().create(wanted)
    (volume,) = found.spec.volumes
    assert volume.name.startswith("kube-api-access-") and len(volume.name) == len("kube-api-access-") + 5
    assert codec.to_dict(volume.volume_source)["projected"] == {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ],
    }
    for container in (*found.spec.init_containers, *found.spec.containers):
        (mount,) = container.volume_mounts
        assert (mount.name, mount.mount_path, mount.read_only) == (volume.name, PATH, True)


@pytest.mark.parametrize(
    ("account_says", "pod_says", "mounted"),
    [(None, None, True), (False, None, False), (True, None, True), (None, False, False), (True, False, False), (False, True, True)],
)
async def test_who_wants_none(account_says: bool | None, pod_says: bool | None, mounted: bool, api: ApiInMemory) -> None:
    account = core.ServiceAccount(metadata=meta.ObjectMeta(name="other", namespace="shop"))
    if account_says is not None:
        account.automount_service_account_token = account_says
    await api.client().create(account)
    wanted = pod("new", "other")
    if pod_says is not None:
        wanted.spec.automount_service_account_token = pod_says
    found = await api.client().create(wanted)
    assert bool(found.spec.volumes) is mounted is bool(found.spec.containers[0].volume_mounts)


async def test_what_lies_there_already_is_left_alone(api: ApiInMemory) -> None:
    wanted = pod("new")
    wanted.spec.containers.add(name="other", image="busybox:local")
    wanted.spec.volumes.add(name="mine").volume_source.empty_dir.SetInParent()
    wanted.spec.containers[0].volume_mounts.add(name="mine", mount_path=PATH)
    found = await api.client().create(wanted)
    assert [mount.name for mount in found.spec.containers[0].volume_mounts] == ["mine"]
    assert len(found.spec.volumes) == 2 and found.spec.containers[1].volume_mounts[0].name == found.spec.volumes[1].name
    del wanted.spec.containers[1]
    wanted.metadata.name = "none"
    assert [volume.name for volume in (await api.client().create(wanted)).spec.volumes] == ["mine"]


async def test_a_copy_of_a_pod_has_the_volume_once(api: ApiInMemory) -> None:
    copy = await api.client().create(pod("new"))
    copy.metadata.CopyFrom(meta.ObjectMeta(name="copy", namespace="shop"))
    found = await api.client().create(copy)
    assert found.spec.volumes == copy.spec.volumes and found.spec.containers == copy.spec.containers
    without = pod("third")
    without.spec.volumes.extend(copy.spec.volumes)
    found = await api.client().create(without)
    assert len(found.spec.volumes) == 1 and found.spec.containers[0].volume_mounts[0].name == copy.spec.volumes[0].name


async def test_a_mirror_pod_gets_none(api: ApiInMemory) -> None:
    mirror = pod("mirror", "")
    mirror.metadata.annotations["kubernetes.io/config.mirror"] = "1"
    assert not (await api.client().create(mirror)).spec.volumes


async def test_where_no_tokens_are_issued_none_are_mounted() -> None:
    async with ApiInMemory() as api:
        api.seed(
            core.Node(metadata=meta.ObjectMeta(name="node-1")),
            core.ServiceAccount(metadata=meta.ObjectMeta(name="robot", namespace="shop")),
        )
        assert not (await api.client().create(pod())).spec.volumes
