"""Our nftables table of the pod network: pods reach the outside by their node's address, and one another by their own.

Between pods the source is bound to itself before other tables' source NAT (Docker's, for one) could change it. On the VXLAN
the segment size of TCP is held to what fits, so nothing depends on ICMP getting through.
"""

from __future__ import annotations

from services.proxy.datapath.nftables.libnftables import Nftables, NftablesError
from services.proxy.settings import ProxySettings

# After the Services' source NAT, before other tables'.
PRIORITY_SOURCE = 97
MULTICAST = "224.0.0.0/4"
RULES = 3


def ruleset(settings: ProxySettings) -> str:
    """One transaction that replaces whatever the table held."""
    table, cluster = settings.pod_table, settings.pod_cidr
    return f"""table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority {PRIORITY_SOURCE}; policy accept;
    ip saddr {cluster} ip daddr {cluster} snat to ip saddr
    ip saddr {cluster} ip daddr != {{ {cluster}, {MULTICAST} }} masquerade
  }}
  chain forward {{
    type filter hook forward priority -1; policy accept;
    oifname "{settings.vxlan_device}" tcp flags syn / syn,rst tcp option maxseg size set rt mtu
  }}
}}
"""


class Masquerade:
    """The table in the kernel. All of it in one thread; OSError when libnftables is missing."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._nft = Nftables()

    def ensure(self) -> None:
        """Puts the table in force unless it is; NftablesError when refused."""
        if self._rules() != RULES:
            self._nft.run(ruleset(self._settings))

    def remove(self) -> None:
        table = self._settings.pod_table
        self._nft.run(f"table ip {table} {{}}\ndelete table ip {table}\n")

    def close(self) -> None:
        self._nft.close()

    def forwarding_is_dropped(self) -> bool:
        """Whether another's packet filter refuses to forward what it does not know, as Docker's does."""
        return any(entry.get("chain", {}).get("policy") == "drop" for entry in self._list("list chain ip filter FORWARD"))

    def _rules(self) -> int:
        return sum("rule" in entry for entry in self._list(f"list table ip {self._settings.pod_table}"))

    def _list(self, command: str) -> list[dict[str, dict[str, object]]]:
        try:
            return self._nft.read(command)
        except NftablesError:
            return []
