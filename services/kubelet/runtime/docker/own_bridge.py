"""The bridge of a node that shares its machine with others: made by the kubelet in the node's own network namespace, which the engine is
not in."""

from __future__ import annotations

import asyncio
import errno
from contextlib import closing
from ipaddress import IPv4Network

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import MAKE, NetlinkRefused
from knarr.netlink.route_socket import RouteSocket
from services.kubelet.runtime.addresses import PodAddresses
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.interface import MAC_PREFIX
from services.kubelet.runtime.port import RuntimeFailure

KIND = "bridge"


async def ensure_bridge(settings: DockerSettings) -> None:
    """Makes the bridge over the node's podCIDR, or what there is of it whole. Raises RuntimeFailure."""
    try:
        await asyncio.to_thread(_ensure, settings)
    except OSError as error:
        raise RuntimeFailure(f"the bridge {settings.bridge} of the pods' network cannot be made: {error.args[-1]}") from error


def _ensure(settings: DockerSettings) -> None:
    gateway, length = PodAddresses(settings.pod_cidr).gateway, IPv4Network(settings.pod_cidr).prefixlen
    with closing(RouteSocket()) as kernel:
        if kernel.link(settings.bridge) is None:
            # Its hardware address stays, whichever ports come and go.
            mac = ":".join([MAC_PREFIX, *(f"{int(part):02x}" for part in gateway.split("."))])
            _unless_there(kernel, rt.LINK_NEW, rt.link_body(name=settings.bridge, mac=mac, mtu=settings.mtu, kind=KIND))
        link = kernel.link(settings.bridge)
        if link is None:
            raise OSError(errno.ENODEV, "it is gone again")
        for other in kernel.addresses(link.ifindex):
            if (other.local, other.prefix_length) != (gateway, length):
                kernel.change(rt.ADDRESS_DELETE, 0, rt.address_body(link.ifindex, other.local, other.prefix_length))
        _unless_there(kernel, rt.ADDRESS_NEW, rt.address_body(link.ifindex, gateway, length))
        kernel.change(rt.LINK_NEW, 0, rt.link_body(link.ifindex, rt.UP))


def _unless_there(kernel: RouteSocket, kind: int, body: bytes) -> None:
    try:
        kernel.change(kind, MAKE, body)
    except NetlinkRefused as error:
        if error.errno != errno.EEXIST:
            raise
