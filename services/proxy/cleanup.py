"""Removes what a proxy that was killed left on the node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from services.proxy.datapath.docker_user import remove_rules
from services.proxy.datapath.nftables.datapath import ROUTE_LOCALNET, localnet_was_off, remove_table
from services.proxy.datapath.nftables.libnftables import Nftables, NftablesError
from services.proxy.datapath.node_network import NodeNetwork, write_sysctl
from services.proxy.datapath.outer_addresses import OuterAddresses
from services.proxy.podnetwork.kernel import remove_pod_network
from services.proxy.podnetwork.plan import OFF
from services.proxy.policy.kernel import remove_policies
from services.proxy.settings import ProxySettings


def remove_everything(settings: ProxySettings) -> None:
    """Removes our nftables tables, rules for Docker, routes and addresses, and the kernel setting that the table says is ours;
    the pod network, too, where the settings have one.

    Safe where there are none. Without privilege there is nothing of ours to remove.
    """
    remove_datapath(settings, settings.ranges)
    if settings.pod_network != OFF:
        remove_pod_network(settings)


def remove_datapath(settings: ProxySettings, ranges: Iterable[str]) -> None:
    """The same but for the pod network; what no name tells of is ours in these ranges."""
    with contextlib.suppress(OSError, NftablesError):
        nft = Nftables()
        try:
            was_off = localnet_was_off(nft, settings.table)
            remove_table(nft, settings.table)
            if was_off:
                write_sysctl(ROUTE_LOCALNET, "0")
        finally:
            nft.close()
    remove_rules(settings.table)
    with contextlib.suppress(PermissionError):
        network = NodeNetwork(ranges)
        try:
            OuterAddresses(network, settings.table, settings.pod_bridge, bind=False).remove_all()
            network.remove_all()
        finally:
            network.close()
    with contextlib.suppress(OSError, NftablesError):
        remove_policies(settings.policy_table)
