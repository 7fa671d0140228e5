"""Makes packets between pods of one node come by the packet filter.

Frames between two ports of a bridge pass the IP hooks only where br_netfilter sees to it: for all bridges by a kernel setting, which Docker
and Kubernetes switch on, or for one bridge by its attribute, which we set where the setting is off.
"""

from __future__ import annotations

import contextlib
import errno
import subprocess

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import attribute, attributes
from knarr.netlink.route_socket import RouteSocket
from services.proxy.datapath.node_network import read_sysctl, write_sysctl

SETTING = "net.bridge.bridge-nf-call-iptables"
SETTING_IPV6 = "net.bridge.bridge-nf-call-ip6tables"
MODULE = "br_netfilter"
# What a bridge has: whether its frames pass the hooks of IPv4 and of IPv6.
BRIDGE_KIND = "bridge"
CALLS = (36, 37)
TIMEOUT_SECONDS = 10
MISSING = f"packets between this node's pods are not seen: the kernel module {MODULE} cannot be loaded"


class BridgeCalls:
    """Sees to one bridge, in the network namespace in which it was made; all of it in one thread: calls wait for the kernel."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        self._kernel = RouteSocket()
        self._tried_module = False

    def ensure(self) -> str:
        """Answers what is missing, in words; empty when all is seen, or there is no bridge yet."""
        value = read_sysctl(SETTING)
        if value is None and not self._load_module():
            return MISSING
        if value == "1" and read_sysctl(SETTING_IPV6) == "1":
            return ""
        try:
            link = self._kernel.link(self._bridge)
            if link is not None and not _is_set(link):
                data = b"".join(attribute(call, b"\1") for call in CALLS)
                self._kernel.change(rt.LINK_NEW, 0, rt.link_body(link.ifindex, kind=BRIDGE_KIND, data=data))
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENOENT):
                return ""
            return f"packets between this node's pods are not seen: the bridge {self._bridge} does not take nf_call_iptables: {error}"
        return ""

    def _load_module(self) -> bool:
        """Loads it once, without switching it on for the bridges of others."""
        if not self._tried_module:
            self._tried_module = True
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(["modprobe", MODULE], capture_output=True, check=False, timeout=TIMEOUT_SECONDS)
            for name in (SETTING, SETTING_IPV6):
                if read_sysctl(name) is not None:
                    write_sysctl(name, "0")
        return read_sysctl(SETTING) is not None

    def close(self) -> None:
        """Changes nothing on the node."""
        self._kernel.close()


def _is_set(bridge: rt.Link) -> bool:
    found = dict(attributes(bridge.data)) if bridge.kind == BRIDGE_KIND else {}
    return all(any(found.get(call, b"")) for call in CALLS)
