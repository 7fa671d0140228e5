"""Pods with claims on a hollow node, and the volumes that they stand for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects import local_path
from knarr.objects.binding import PROVISIONED_BY
from tests.kubelet.support import NODE, Cluster, FiledRuntime, make_pod, running
from tests.support.virtual_time import VirtualClock


@asynccontextmanager
async def hollow(folder: Path) -> AsyncIterator[Cluster]:
    clock = VirtualClock()
    async with running(FiledRuntime("10.244.0.0/24", clock=clock), folder, clock=clock) as cluster:
        yield cluster


def using(claim: str = "data", *, read_only: bool = False) -> core.Pod:
    pod = make_pod()
    pod.spec.volumes.add(name="v").volume_source.persistent_volume_claim.claim_name = claim
    pod.spec.volumes[0].volume_source.persistent_volume_claim.read_only = read_only
    return pod


def bound(name: str = "data", volume: str = "disk") -> core.PersistentVolumeClaim:
    claim = core.PersistentVolumeClaim()
    claim.metadata.name, claim.metadata.namespace, claim.metadata.uid = name, "default", f"uid-{name}"
    claim.spec.access_modes.append("ReadWriteOnce")
    claim.spec.resources.requests["storage"].string = "1Gi"
    claim.spec.volume_name, claim.status.phase = volume, "Bound"
    return claim


def disk(claim: str = "data", **source: Any) -> core.PersistentVolume:
    volume = core.PersistentVolume()
    volume.metadata.name = "disk"
    volume.spec.access_modes.append("ReadWriteOnce")
    volume.spec.capacity["storage"].string = "1Gi"
    volume.spec.persistent_volume_source.CopyFrom(core.PersistentVolumeSource(**source))
    reference = volume.spec.claim_ref
    reference.namespace, reference.name, reference.uid = "default", claim, f"uid-{claim}"
    return volume


def folder(root: str = "/srv/local-path", node: str = NODE, name: str = "pvc-1") -> core.PersistentVolume:
    volume = disk(local=core.LocalVolumeSource(path=f"{root}/{name}"))
    volume.metadata.name, volume.metadata.labels[local_path.NODE_LABEL] = name, node
    volume.metadata.annotations[PROVISIONED_BY] = local_path.PROVISIONER
    volume.metadata.finalizers.append(local_path.FINALIZER)
    volume.spec.persistent_volume_reclaim_policy = "Delete"
    term = volume.spec.node_affinity.required.node_selector_terms.add()
    term.match_expressions.add(key="kubernetes.io/hostname", operator="In", values=[node])
    return volume
