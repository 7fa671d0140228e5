"""``python -m services.kubelet``: a node's kubelet as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path

from knarr.client.client import Client
from knarr.service.command import client_parser, run, run_component, without_tokens
from knarr.service.options import (
    address,
    domain,
    ipv4,
    node_name,
    number,
    optional_cidr,
    optional_ipv4,
    own_directory,
    readable_file,
    unix_endpoint,
)
from services.kubelet.bootstrap import serve_by_requests
from services.kubelet.component import Kubelet
from services.kubelet.configuration import with_configuration
from services.kubelet.node.registry_logins import node_config
from services.kubelet.node_flags import add_node_flags, node_settings
from services.kubelet.pod.protection import check_unsafe_sysctls
from services.kubelet.registration_flags import add_registration_flags
from services.kubelet.runtime.catalog import RUNTIMES, make_runtime
from services.kubelet.settings import CONTAINERD, EXTERNAL, KubeletSettings
from services.kubelet.shutdown_flags import add_shutdown_flags, shutdown_periods

# The most that Linux can be told to give.
MAX_PROCESS_ID = 1 << 22
# What a kubelet that asks for its certificates need not be given.
ASKED_FOR = ("cert", "key", "tokens", "token")


def unsafe_sysctls(text: str) -> tuple[str, ...]:
    """Names or beginnings of them, separated by commas."""
    names = tuple(filter(None, text.split(",")))
    if words := check_unsafe_sysctls(names):
        raise argparse.ArgumentTypeError(words)
    return names


def arguments_parser() -> argparse.ArgumentParser:
    made = client_parser("kubelet", "Run the pods of this node.", port=10250)
    made.spared = lambda arguments: ASKED_FOR if arguments.cert_dir else without_tokens(arguments)
    _add_certificate_flags(made)
    _add_machine_flags(made)
    add_registration_flags(made)
    _add_name_flags(made)
    _add_pod_flags(made)
    add_node_flags(made)
    add_shutdown_flags(made)
    made.add_argument("--cluster-id", default="knarr", help="labels what is made in the engine (default: %(default)s)")
    return made


def _add_certificate_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--cert-dir",
        type=own_directory,
        metavar="DIR",
        help="where the certificates are kept that this node asks the cluster for and renews, instead of those that it is given; "
        "--apiserver is then the port for certificates, 6445",
    )
    made.add_argument(
        "--bootstrap-token",
        type=readable_file,
        metavar="FILE",
        help="a bootstrap token, by which the first certificate is asked for while --cert-dir has none",
    )
    made.add_argument(
        "--bootstrap-apiserver",
        type=address,
        metavar="HOST:PORT",
        help="where the token is shown: the API server's port for tokens, 6444",
    )


def _add_machine_flags(made: argparse.ArgumentParser) -> None:
    """The engine, the node's name and addresses, and its files."""
    made.add_argument(
        "--runtime", choices=RUNTIMES, help="what runs containers (default: containerd where its endpoint is given, else docker)"
    )
    made.add_argument(
        "--container-runtime-endpoint",
        type=unix_endpoint,
        metavar="unix:///PATH",
        help=f"where containerd, or another engine that speaks CRI, listens (default: {CONTAINERD})",
    )
    made.add_argument(
        "--node-name", default=socket.gethostname().lower(), type=node_name, metavar="NAME", help="the Node's name (default: the machine's)"
    )
    made.add_argument("--node-ip", required=True, type=ipv4, metavar="IP", help="by which the API server reaches this node")
    made.add_argument(
        "--data-dir",
        type=own_directory,
        default="/var/lib/knarr/kubelet",
        metavar="DIR",
        help="where volumes, and what must survive a restart, are kept (default: %(default)s)",
    )
    made.add_argument(
        "--pod-cidr",
        type=optional_cidr,
        metavar="CIDR",
        help="addresses of this node's pods (default: as the Node is given by the controller)",
    )
    made.add_argument(
        "--mounts-of",
        type=number(1, MAX_PROCESS_ID),
        default=0,
        metavar="PID",
        help="a process with the mounts that the engine sees, for a kubelet in a container (default: this one)",
    )


def _add_name_flags(made: argparse.ArgumentParser) -> None:
    """Who answers the pods' questions for names."""
    made.add_argument(
        "--cluster-dns",
        type=optional_ipv4,
        default="",
        metavar="IP",
        help="address of the cluster's DNS for pods with dnsPolicy ClusterFirst (default: none, they have the node's servers)",
    )
    made.add_argument(
        "--cluster-domain",
        type=domain,
        default="cluster.local",
        metavar="NAME",
        help="the ending of all names in the cluster (default: %(default)s)",
    )
    made.add_argument(
        "--resolv-conf",
        type=Path,
        default=Path("/etc/resolv.conf"),
        metavar="FILE",
        help="the node's resolver settings, for pods with dnsPolicy Default (default: %(default)s)",
    )


def _add_pod_flags(made: argparse.ArgumentParser) -> None:
    """Images, the provider of the machine, and what pods may do to it."""
    made.add_argument(
        "--pull-advice",
        default="",
        metavar="TEXT",
        help="what a person can do where an image cannot be pulled, for the pod's messages; {image} stands for the image",
    )
    made.add_argument(
        "--registry-config",
        type=Path,
        default=node_config(),
        metavar="FILE",
        help="the node's logins to registries, as `docker login` writes them, credential helpers included (default: %(default)s)",
    )
    made.add_argument(
        "--cloud-provider",
        choices=("", EXTERNAL),
        default="",
        help="external: take no pods before a cloud controller manager has told of this machine",
    )
    made.add_argument("--provider-id", default="", metavar="ID", help="this machine at its provider, if the manager shall not look for it")
    made.add_argument(
        "--allowed-unsafe-sysctls",
        type=unsafe_sysctls,
        default=(),
        metavar="NAMES",
        help="parameters of the kernel that pods may set although others on the node may feel it, separated by commas; "
        "a * at the end stands for whatever follows (default: none, only the safe ones)",
    )


def settings_of(arguments: argparse.Namespace) -> KubeletSettings:
    """Raises ValueError where flags contradict one another."""
    return KubeletSettings(
        node_name=arguments.node_name,
        data_dir=arguments.data_dir,
        node_ip=arguments.node_ip,
        pod_cidr=arguments.pod_cidr or "",
        port=int(arguments.listen.rpartition(":")[2]),
        cluster_id=arguments.cluster_id,
        container_runtime_endpoint=arguments.container_runtime_endpoint or CONTAINERD,
        mounts_of=arguments.mounts_of,
        pull_advice=arguments.pull_advice,
        registry_config=arguments.registry_config,
        cloud_provider=arguments.cloud_provider,
        provider_id=arguments.provider_id,
        cluster_dns=arguments.cluster_dns,
        cluster_domain=arguments.cluster_domain,
        resolv_conf=arguments.resolv_conf,
        allowed_unsafe_sysctls=arguments.allowed_unsafe_sysctls,
        taints=arguments.register_with_taints,
        **node_settings(arguments),
        shutdown_periods=shutdown_periods(arguments),
    )


def main() -> int:
    parser = arguments_parser()
    try:
        arguments = parser.parse_args(with_configuration(parser, sys.argv[1:]))
        settings = settings_of(arguments)
    except ValueError as error:
        parser.error(str(error))
    runtime = arguments.runtime or ("containerd" if arguments.container_runtime_endpoint else "docker")

    def make(client: Client) -> Kubelet:
        made = Kubelet(client, settings, make_runtime(runtime, settings))
        # What an init or a person without systemd says before the machine stops.
        asyncio.get_running_loop().add_signal_handler(signal.SIGPWR, made.shutdown.begin)
        return made

    if arguments.cert_dir is not None:
        return run(arguments, lambda: serve_by_requests(arguments, make))
    return run_component(arguments, make)


if __name__ == "__main__":
    raise SystemExit(main())
