"""kubelet_volume_stats_*: how full claims are, by which dashboards warn before a disk is full. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from knarr.objects.volumes import ephemeral_claim_name
from services.kubelet.web.exposition import family
from services.kubelet.web.summary import PodDisk, VolumeUse
from services.kubelet.worker.manager import PodManager

METRICS: tuple[tuple[str, str, Callable[[VolumeUse], int]], ...] = (
    ("available_bytes", "Room that is left", lambda use: use.disk.available),
    ("capacity_bytes", "Its size", lambda use: use.disk.capacity),
    ("used_bytes", "What is used", lambda use: use.used),
    ("inodes", "Files that there is room for", lambda use: use.disk.inodes),
    ("inodes_free", "Of those, how many more", lambda use: use.disk.inodes_free),
    ("inodes_used", "Files that there are", lambda use: use.inodes_used),
)


def volume_metrics(manager: PodManager, disks: Mapping[str, PodDisk]) -> list[str]:
    """The lines, each claim once however many pods use it."""
    claims = dict(_claims(manager, disks))
    told = [({"namespace": namespace, "persistentvolumeclaim": claim}, use) for (namespace, claim), use in sorted(claims.items(), key=_key)]
    lines: list[str] = []
    for name, words, of in METRICS:
        lines += family(f"kubelet_volume_stats_{name}", "gauge", f"[ALPHA] {words}", [(labels, of(use), None) for labels, use in told])
    return lines


def _key(item: tuple[tuple[str, str], VolumeUse]) -> tuple[str, str]:
    return item[0]


def _claims(manager: PodManager, disks: Mapping[str, PodDisk]) -> Iterator[tuple[tuple[str, str], VolumeUse]]:
    for uid, worker in manager.workers.items():
        on_disk = disks.get(uid)
        for volume in worker.pod.spec.volumes if on_disk is not None else ():
            assert on_disk is not None
            claim = volume.volume_source.persistent_volume_claim.claim_name
            if volume.volume_source.HasField("ephemeral"):
                claim = ephemeral_claim_name(worker.pod, volume)
            if claim and volume.name in on_disk.volumes:
                yield (worker.pod.metadata.namespace, claim), on_disk.volumes[volume.name]
