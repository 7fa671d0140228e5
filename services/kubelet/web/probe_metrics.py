"""/metrics/probes: how the probes of this node's containers have ended. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from services.kubelet.web.exposition import Sample, family
from services.kubelet.worker.manager import PodManager


def probe_metrics(manager: PodManager) -> list[str]:
    """The lines; a pod that is gone is told of no more."""
    words = "[BETA] Probes of containers by kind and result"
    return family("prober_probe_total", "counter", words, [*_samples(manager)])


def _samples(manager: PodManager) -> Iterator[Sample]:
    for uid, worker in manager.workers.items():
        about = {"namespace": worker.pod.metadata.namespace, "pod": worker.pod.metadata.name, "pod_uid": uid}
        for (container, kind, result), count in sorted(worker.probed.items()):
            yield {"container": container, **about, "probe_type": kind, "result": result}, count, None
