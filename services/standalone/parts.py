"""The components of a cluster in one process, as its node shows them: pods in kube-system, named as Kubernetes' installers name theirs.

Their commands are those of Kubernetes' components with the same settings, since people and tools read the cluster's ranges from them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from knarr.machinery.version import BUILD
from services.kubelet.forwarding import dial_address
from services.kubelet.parts.port import Course, NodeParts, Part
from services.standalone.component_log import ETCD, ComponentLog
from services.standalone.listening import EVERYWHERE, LOOPBACK
from services.standalone.process import start_time
from services.standalone.runs import Runs
from services.standalone.settings import ClusterSettings

IMAGE = f"knarr/component:{BUILD.removeprefix('knarr.')}"
CONTROL_PLANE, NODE = "control-plane", "node"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a component is shown: under Kubernetes' name, in a tier, with further labels."""

    name: str
    tier: str = CONTROL_PLANE
    app: str = ""
    # Where Kubernetes' own has its pages (metrics, health); 0: at none that is not the component's here, too.
    pages: int = 0

    @property
    def labels(self) -> dict[str, str]:
        return {"component": self.name, "tier": self.tier, **({"k8s-app": self.app} if self.app else {})}


# By component; the kubelet is what shows them, and simulated nodes are nothing of the cluster's.
KINDS = {
    ETCD: _Kind("etcd"),
    "apiserver": _Kind("kube-apiserver"),
    "scheduler": _Kind("kube-scheduler", pages=10259),
    "controller": _Kind("kube-controller-manager", pages=10257),
    "cloud": _Kind("cloud-controller-manager"),
    "dns": _Kind("kube-dns", NODE, "kube-dns"),
    "gateway": _Kind("knarr-gateway", NODE, "knarr-gateway"),
    "proxy": _Kind("kube-proxy", NODE, "kube-proxy"),
}


def node_parts(
    settings: ClusterSettings,
    address: str,
    runs: Mapping[str, Runs],
    is_ready: Callable[[str], bool],
    due: Callable[[], Awaitable[object]],
    rest_port: Callable[[], int],
    log: Path | None = None,
) -> NodeParts:
    """A part for each component in ``runs`` that is shown. ``address`` is the node's, ``due`` when they are to be told of, ``rest_port``
    that of the Kubernetes REST API, which has the pages of all components; ``log`` where they write, where that is not the cluster's."""
    process = f"{os.getpid()}.{start_time(os.getpid())}"
    parts = []
    for component, kind in KINDS.items():
        if component not in runs:
            continue
        parts.append(
            Part(
                name=kind.name,
                image=ETCD if component == ETCD else IMAGE,
                command=(kind.name, *flags(settings, address).get(component, ())),
                labels=kind.labels,
                course=partial(_course, process, runs[component], partial(is_ready, component)),
                log=ComponentLog(settings.files.etcd_log if component == ETCD else log or settings.files.log, component),
                dial=partial(_dial, settings.listen_address, kind.pages, rest_port),
                way_out=f"`knarr logs {component}` and `kubectl logs` have what it says, `knarr status` how it is",
            )
        )
    return NodeParts(tuple(parts), due)


def flags(settings: ClusterSettings, address: str) -> dict[str, tuple[str, ...]]:
    """By component, Kubernetes' flags for what was chosen here. Of ports those that were chosen: another one at each start would be another
    pod."""
    mask, (first, last) = IPv4Network(settings.pod_cidr).prefixlen, settings.node_ports
    return {
        "apiserver": (
            f"--advertise-address={address}",
            f"--secure-port={settings.ports.rest}",
            f"--service-cluster-ip-range={settings.service_cidr}",
            f"--service-node-port-range={first}-{last}",
        ),
        "controller": (
            f"--cluster-cidr={settings.cluster_cidr}",
            "--allocate-node-cidrs=true",
            f"--node-cidr-mask-size={mask}",
            f"--service-cluster-ip-range={settings.service_cidr}",
        ),
        "cloud": ("--cloud-provider=local",),
        "proxy": (f"--cluster-cidr={settings.cluster_cidr}", f"--proxy-mode={settings.datapath}", f"--hostname-override={settings.node}"),
    }


def _course(process: str, runs: Runs, is_ready: Callable[[], bool]) -> Course:
    return Course(process, runs.number, runs.began is not None and is_ready(), runs.began, runs.last)


async def _dial(listen_address: str, pages: int, rest_port: Callable[[], int], port: int) -> socket.socket:
    """To where the components listen, which Services and pods do not reach; to the pages, where Kubernetes' tools look for them."""
    if port == pages:
        return await dial_address(LOOPBACK, rest_port())
    return await dial_address(LOOPBACK if listen_address == EVERYWHERE else listen_address, port)
