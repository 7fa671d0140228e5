"""What must hold before a cluster can start, checked first so that an error is one clear line."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network

from services.kubelet.runtime.catalog import engine_url
from services.standalone.settings import ClusterSettings


def problems(settings: ClusterSettings) -> Iterator[str]:
    """Sentences that say what is wrong and the way out; none when the cluster can start."""
    if shutil.which("etcd") is None:
        yield "etcd is not installed; run `make install`, or `apt-get install etcd-server`"
    if settings.runtime == "docker":
        yield from _docker_problems()
        if os.geteuid() != 0:
            yield "pods need root (networks, mounts); run with sudo, or use --runtime hollow to simulate them"
        if settings.datapath == "nftables" and shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            yield "nftables is not installed; `apt-get install nftables`, or use --datapath userspace"
    yield from _range_problems(settings)
    yield from _port_problems(settings)


def _range_problems(settings: ClusterSettings) -> Iterator[str]:
    service, cluster, pod = (IPv4Network(text) for text in (settings.service_cidr, settings.cluster_cidr, settings.pod_cidr))
    if not pod.subnet_of(cluster):
        yield f"--pod-cidr {pod} lies outside --cluster-cidr {cluster}; choose a part of it"
    kept = ClusterSettings.saved(settings.data_dir)
    if settings.files.etcd.exists() and kept.service_cidr != settings.service_cidr:
        yield f"this cluster's Services have addresses in {kept.service_cidr}; keep --service-cidr, or begin anew with another --data-dir"
    if service.overlaps(cluster):
        yield f"--service-cidr {service} overlaps --cluster-cidr {cluster}; choose ranges that do not meet"


def _docker_problems() -> Iterator[str]:
    path = engine_url().removeprefix("unix://")
    if not path.startswith("/"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except PermissionError:
            yield f"the Docker engine's socket {path} is closed to you; run with sudo, or join the group docker"
        except OSError:
            yield f"no Docker engine answers at {path}; run `make install`, start it (`systemctl start docker`), or use --runtime hollow"


def _port_problems(settings: ClusterSettings) -> Iterator[str]:
    for name in ("rest", "apiserver", "kubelet", "proxy", "controller", "scheduler"):
        port = getattr(settings.ports, name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.listen_address, port))
            except OSError as error:
                reason = f"cannot be used: {error.strerror}; choose another with --{name}-port"
                yield f"port {port} ({name}) on {settings.listen_address} {reason}"
