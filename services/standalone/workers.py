"""How the components besides the apiserver are made for a cluster on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import IPv4Network

from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.authentication import NODE_PREFIX, NODES, User
from knarr.service.component import Component
from knarr.service.options import driver_sockets
from services.cloud.component import CloudControllerManager
from services.cloud.providers.local.settings import LocalSettings
from services.cloud.settings import CloudSettings
from services.controller.component import ControllerManager
from services.controller.settings import ControllerSettings, Signing
from services.dns.settings import DnsSettings
from services.gateway.settings import GatewaySettings
from services.kubelet.component import Kubelet
from services.kubelet.parts.port import NO_PARTS, NodeParts
from services.kubelet.runtime.catalog import make_runtime
from services.kubelet.settings import KubeletSettings
from services.proxy.settings import ProxySettings
from services.scheduler.component import Scheduler
from services.scheduler.settings import SchedulerSettings
from services.standalone.datapath import datapath_settings
from services.standalone.hollow import hollow_nodes
from services.standalone.listening import LOOPBACK
from services.standalone.node_settings import kubelet_settings, nameserver_of
from services.standalone.settings import ClusterSettings, path_of

# Of the proxy for requests from outside.
MOST_THREADS = 4
# By name, in the order in which a start is told; each call makes a new one.
Workers = dict[str, Callable[[], Component]]


def workers(
    settings: ClusterSettings,
    address: str,
    root_certificate: str,
    client_of: Callable[[User], Client],
    clock: Clock = SYSTEM_CLOCK,
    *,
    parts: Callable[[], NodeParts] = lambda: NO_PARTS,
    latest: Callable[[], ClusterSettings] | None = None,
) -> Workers:
    """``address`` is the node's; ``root_certificate`` the CA's, PEM; ``client_of`` gives the API as a user sees it; ``parts`` what runs on
    the node beside containers; ``latest`` the settings with the nodes that there are to be by now."""

    def client(name: str, *groups: str) -> Client:
        return client_of(User(name, groups=(*groups, "system:authenticated")))

    named = nameserver_of(settings, address)
    dns, cloud = _dns(settings, address, named), _cloud(settings)
    scheduler, gateway = _scheduler(settings), _gateway(settings, address)
    kubelet, now = kubelet_settings(settings, address), latest or (lambda: settings)
    controller = ControllerSettings(
        cluster_cidr=settings.cluster_cidr,
        node_mask_size=IPv4Network(settings.pod_cidr).prefixlen,
        root_certificate=root_certificate,
        signing=Signing(settings.files.pki / "ca.crt", settings.files.pki / "ca.key"),
        csi_drivers=driver_sockets(settings.csi_driver),
    )
    made: Workers = {
        "scheduler": lambda: Scheduler(client("system:kube-scheduler"), scheduler, clock=clock),
        "controller": lambda: ControllerManager(client("system:kube-controller-manager"), controller, clock=clock),
        "cloud": lambda: CloudControllerManager(client("system:cloud-controller-manager"), cloud, clock=clock),
        "dns": lambda: _made_dns(client("system:kube-dns"), dns, clock),
        "gateway": lambda: _made_gateway(client("system:knarr-gateway"), gateway, clock),
        "proxy": lambda: _made_proxy(client("system:kube-proxy"), datapath_settings(now())),
        "kubelet": lambda: Kubelet(
            client(f"{NODE_PREFIX}{settings.node}", NODES), kubelet, make_runtime(settings.runtime, kubelet), clock=clock, parts=parts()
        ),
    }
    made["hollow"] = lambda: _hollow(now(), kubelet, client, clock)
    return made


def _hollow(settings: ClusterSettings, kubelet: KubeletSettings, client: Callable[..., Client], clock: Clock) -> Component:
    # What is simulated is loaded by those alone who have it.
    from services.kubelet.hollow_nodes import HollowNodes

    return HollowNodes(lambda name: client(f"{NODE_PREFIX}{name}", NODES), hollow_nodes(settings, kubelet), clock)


def _scheduler(settings: ClusterSettings) -> SchedulerSettings:
    file = path_of(settings.scheduler_config)
    if file is None:
        return SchedulerSettings()
    # What reads it is loaded by those alone who have one.
    from services.scheduler.configuration.reading import read_scheduler_configuration, settings_of

    # One process is one scheduler: there is nobody to be elected among.
    return settings_of(read_scheduler_configuration(file))


# A cluster for tests does without these, and so does not load them.


def _made_dns(client: Client, settings: DnsSettings, clock: Clock) -> Component:
    from services.dns.component import Dns

    return Dns(client, settings, clock)


def _made_gateway(client: Client, settings: GatewaySettings, clock: Clock) -> Component:
    from services.gateway.component import Gateway

    return Gateway(client, settings, clock)


def _made_proxy(client: Client, settings: ProxySettings) -> Component:
    from services.proxy.component import Proxy

    return Proxy(client, settings)


def _dns(settings: ClusterSettings, address: str, cluster_ip: str) -> DnsSettings:
    return DnsSettings(
        address=address,
        port=settings.ports.nameserver,
        domain=settings.cluster_domain,
        cluster_ip=cluster_ip,
        service_cidr=settings.service_cidr,
        pod_cidr=settings.cluster_cidr,
        instance=settings.node,
        node_name=settings.node,
        # It is the only one: nobody else could answer meanwhile, or waits to see it gone.
        drain_seconds=0.0,
        renew_seconds=5.0,
        lease_seconds=20.0,
    )


def _gateway(settings: ClusterSettings, address: str) -> GatewaySettings:
    # Names like web.localhost lead to the loopback, wherever they are asked for.
    return GatewaySettings(
        folder=settings.files.gateway,
        addresses=tuple(dict.fromkeys((LOOPBACK, address))),
        http_port=settings.ports.gateway_http,
        https_port=settings.ports.gateway_https,
        status_address="" if address == LOOPBACK else address,
        gateway_api=settings.gateway_api == "on",
        threads=min(os.cpu_count() or 1, MOST_THREADS),
    )


def _cloud(settings: ClusterSettings) -> CloudSettings:
    pool = LocalSettings(pool=(settings.load_balancer_pool,))
    return CloudSettings(provider="local", provider_settings=pool, cluster_cidr=settings.cluster_cidr)
