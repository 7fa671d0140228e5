"""Claims, volumes and classes for tests, as the API server would default them."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from tests.controller.objects import claim, volume


def storage_class(name: str, *, provisioner: str = "example.com/disks", waits: bool = False) -> storage.StorageClass:
    made = storage.StorageClass(metadata=meta.ObjectMeta(name=name), provisioner=provisioner)
    if waits:
        made.volume_binding_mode = "WaitForFirstConsumer"
    return made


def sized(name: str, size: str, *, of: str = "", policy: str = "Retain", kept_for: str = "") -> core.PersistentVolume:
    made = volume(name)
    made.spec.capacity["storage"].string, made.spec.persistent_volume_reclaim_policy = size, policy
    made.spec.storage_class_name = of
    if kept_for:
        made.spec.claim_ref.namespace, made.spec.claim_ref.name = "default", kept_for
    return made


def asking(name: str, size: str, *, of: str = "", named: str = "") -> core.PersistentVolumeClaim:
    made = claim(name)
    made.spec.resources.requests["storage"].string = size
    made.spec.storage_class_name, made.spec.volume_name = of, named
    return made
