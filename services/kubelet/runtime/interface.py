"""A pod's interface: a line (veth(4)) whose one end is ``eth0`` in the pod's network namespace, the other a port of the node's bridge.

The node's end comes up when all else is done. So one that is up is whole, one that is not was left by somebody who was cut off, and is made
anew; nothing else remembers how far anybody came. The end's name follows from the sandbox, its hardware address from the pod's address: who
gets the address of another is found by those who knew that one. Blocking; raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import MAKE, NetlinkRefused
from knarr.netlink.route_socket import RouteSocket
from services.kubelet.runtime.namespaces import enter_network
from services.kubelet.runtime.usage import NetworkUse

INSIDE, LOOPBACK = "eth0", "lo"
# As long as the kernel allows: engines and plugins give their ends shorter names.
PREFIX, NAME_LENGTH = "veth", 15
# First two bytes of our hardware addresses: locally administered.
MAC_PREFIX = "02:6b"
# Who made a route: an administrator (rtnetlink.h).
STATIC = 4
NAMESPACE = "/proc/thread-self/ns/net"


@dataclass(frozen=True, slots=True)
class PodInterface:
    """What a pod's interface is to be. ``mtu`` is in bytes; 0: as the bridge's."""

    bridge: str
    address: str
    prefix_length: int
    gateway: str
    mtu: int

    @property
    def mac(self) -> str:
        return ":".join([MAC_PREFIX, *(f"{byte:02x}" for byte in IPv4Address(self.address).packed)])


def name_of(sandbox_id: str) -> str:
    """What the node's end is called."""
    return (PREFIX + sandbox_id)[:NAME_LENGTH]


@dataclass(frozen=True, slots=True)
class NodeEnds:
    """The ends of pods' interfaces on the node, by name, and the index of the bridge: 0 where that is not here."""

    bridge: int = 0
    links: Mapping[str, rt.Link] = field(default_factory=dict)

    def whole(self, sandbox_id: str) -> bool:
        """Whether a sandbox's interface is there and leads to the bridge. Without a bridge nobody can tell."""
        end = self.links.get(name_of(sandbox_id))
        return not self.bridge or (end is not None and bool(end.flags & rt.UP) and end.master == self.bridge)

    def use(self, sandbox_id: str) -> NetworkUse | None:
        """What has come in and gone out by a sandbox's interface; None where it has none. What a pod sends its node's end receives."""
        end = self.links.get(name_of(sandbox_id))
        if end is None:
            return None
        told = end.counters
        return NetworkUse(
            INSIDE,
            received_bytes=told.sent_bytes,
            received_packets=told.sent_packets,
            received_errors=told.sent_errors,
            received_dropped=told.sent_dropped,
            sent_bytes=told.received_bytes,
            sent_packets=told.received_packets,
            sent_errors=told.received_errors,
            sent_dropped=told.received_dropped,
        )

    def strange(self, sandbox_ids: Collection[str]) -> list[str]:
        """The ports of the bridge that are nobody's of these: the engine may hold a namespace that has no container any more. Nothing where
        the bridge is not here: what has no master then is somebody else's."""
        if not self.bridge:
            return []
        known = {name_of(sandbox_id) for sandbox_id in sandbox_ids}
        return [name for name, link in self.links.items() if link.master == self.bridge and name not in known]


def read_ends(bridge: str) -> NodeEnds:
    """What is there."""
    with closing(RouteSocket()) as node:
        links = node.links()
    index = next((link.ifindex for link in links if link.name == bridge), 0)
    return NodeEnds(index, {link.name: link for link in links if link.name.startswith(PREFIX) and len(link.name) == NAME_LENGTH})


def lay(wanted: PodInterface, sandbox_id: str, pid: int) -> None:
    """Makes the interface of a sandbox whose process is ``pid``, or what there is of it whole. To be called in a thread that ends with it:
    that stays in the pod's namespace."""
    name = name_of(sandbox_id)
    with closing(RouteSocket()) as node:
        bridge = _needed(node, wanted.bridge)
        end = node.link(name)
        if end is not None and end.flags & rt.UP:
            node.attach(end.ifindex, bridge.ifindex)
            return
        if end is not None:
            node.change(rt.LINK_DELETE, 0, rt.link_body(end.ifindex))
        enter_network(pid, sandbox_id)
        _make(node, name, wanted.mac, wanted.mtu or bridge.mtu)
        with closing(RouteSocket()) as pod:
            _set_up(pod, wanted)
        made = _needed(node, name).ifindex
        _spare_ipv6(node, made)
        node.attach(made, bridge.ifindex)
        _up(node, made)


def remove(names: Collection[str]) -> None:
    """Takes away ends, and with each the other one; those that are gone are success."""
    with closing(RouteSocket()) as node:
        for name in names:
            end = node.link(name)
            if end is not None:
                with contextlib.suppress(NetlinkRefused):
                    node.change(rt.LINK_DELETE, 0, rt.link_body(end.ifindex))


def _make(node: RouteSocket, name: str, mac: str, mtu: int) -> None:
    """Both ends at once, the pod's in the namespace that this thread is in."""
    namespace = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        peer = rt.peer_body(namespace, name=INSIDE, mac=mac, mtu=mtu)
        node.change(rt.LINK_NEW, MAKE, rt.pair_body(name, peer, mtu=mtu))
    finally:
        os.close(namespace)


def _set_up(pod: RouteSocket, wanted: PodInterface) -> None:
    _up(pod, _needed(pod, LOOPBACK).ifindex)
    index = _needed(pod, INSIDE).ifindex
    _spare_ipv6(pod, index)
    pod.change(rt.ADDRESS_NEW, MAKE, rt.address_body(index, wanted.address, wanted.prefix_length))
    _up(pod, index)
    pod.change(rt.ROUTE_NEW, MAKE, rt.route_body("0.0.0.0/0", kind=rt.UNICAST, protocol=STATIC, gateway=wanted.gateway, link=index))


def _spare_ipv6(kernel: RouteSocket, index: int) -> None:
    # A kernel without IPv6 gives none.
    with contextlib.suppress(NetlinkRefused):
        kernel.change(rt.LINK_NEW, 0, rt.without_ipv6_body(index))


def _up(kernel: RouteSocket, index: int) -> None:
    kernel.change(rt.LINK_NEW, 0, rt.link_body(index, rt.UP))


def _needed(kernel: RouteSocket, name: str) -> rt.Link:
    link = kernel.link(name)
    if link is None:
        raise OSError(errno.ENODEV, f"the interface {name} is not there")
    return link
