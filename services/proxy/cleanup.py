"""Removes what a proxy that was killed left on the node."""

from __future__ import annotations

import contextlib

from services.proxy.datapath.nftables.datapath import remove_table
from services.proxy.datapath.nftables.libnftables import Nftables, NftablesError
from services.proxy.datapath.node_network import NodeNetwork
from services.proxy.settings import ProxySettings


def remove_everything(settings: ProxySettings) -> None:
    """Removes our nftables table, routes and addresses; safe where there are none. Without privilege there is nothing of ours to remove.

    ``net.ipv4.conf.all.route_localnet`` is left as it is: who set it is not known any more.
    """
    with contextlib.suppress(OSError, NftablesError):
        nft = Nftables()
        try:
            remove_table(nft, settings.table)
        finally:
            nft.close()
    with contextlib.suppress(PermissionError):
        network = NodeNetwork()
        try:
            network.remove_all()
        finally:
            network.close()
