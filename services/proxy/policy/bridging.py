"""Makes packets between pods of one node come by the packet filter.

Frames between two ports of a bridge pass the IP hooks only where br_netfilter sees to it: for all bridges by a kernel setting, which Docker
and Kubernetes switch on, or for one bridge by its attribute, which we set where the setting is off.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import subprocess

from pyroute2 import IPRoute, NetlinkError

from services.proxy.datapath.node_network import read_sysctl, write_sysctl

SETTING = "net.bridge.bridge-nf-call-iptables"
SETTING_IPV6 = "net.bridge.bridge-nf-call-ip6tables"
MODULE = "br_netfilter"
TIMEOUT_SECONDS = 10
MISSING = f"packets between this node's pods are not seen: the kernel module {MODULE} cannot be loaded"


class BridgeCalls:
    """Sees to one bridge, in the network namespace in which it was made; all of it in one thread without a running event loop."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        self._loop = asyncio.SelectorEventLoop()
        self._netlink = IPRoute(use_event_loop=self._loop)
        self._tried_module = False

    def ensure(self) -> str:
        """Answers what is missing, in words; empty when all is seen, or there is no bridge yet."""
        value = read_sysctl(SETTING)
        if value is None and not self._load_module():
            return MISSING
        if value == "1" and read_sysctl(SETTING_IPV6) == "1":
            return ""
        try:
            for index in self._netlink.link_lookup(ifname=self._bridge):
                if not self._is_set(index):
                    self._netlink.link("set", index=index, kind="bridge", br_nf_call_iptables=1, br_nf_call_ip6tables=1)
        except NetlinkError as error:
            if error.code in (errno.ENODEV, errno.ENOENT):
                return ""
            return f"packets between this node's pods are not seen: the bridge {self._bridge} does not take nf_call_iptables: {error}"
        return ""

    def _is_set(self, index: int) -> bool:
        info = self._netlink.get_links(index)[0].get_attr("IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_DATA") if info is not None and info.get_attr("IFLA_INFO_KIND") == "bridge" else None
        return data is not None and all(data.get_attr(f"IFLA_BR_NF_CALL_{family}TABLES") for family in ("IP", "IP6"))

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
        self._netlink.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
