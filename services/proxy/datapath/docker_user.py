"""Docker's packet filter drops forwarded packets that it does not know; `DOCKER-USER` is the chain that Docker keeps for others' rules.

One rule there lets in what a Service has sent on to a pod, and nothing else. It carries the name of our table as its comment. It is
the one thing of ours outside our own table: an `accept` elsewhere cannot overrule Docker's `DROP`. Docker writes through iptables(8),
and so do we: what nft(8) writes into its chains iptables could no longer list.
"""

from __future__ import annotations

import subprocess

TIMEOUT_SECONDS = 10
CHAIN = "DOCKER-USER"


class DockerUser:
    """Our rule in the current network namespace's `DOCKER-USER` chain, if Docker has made one."""

    def __init__(self, pod_cidr: str, name: str) -> None:
        self._rule = ["-d", pod_cidr, "-m", "conntrack", "--ctstate", "DNAT", "-m", "comment", "--comment", name, "-j", "ACCEPT"]

    def ensure(self) -> bool:
        """Puts the rule first in the chain unless it is in it; False without such a chain, iptables or the privilege."""
        return self._run("-C") or self._run("-I")

    def remove(self) -> None:
        """Removes the rule, as often as it is there."""
        while self._run("-D"):
            pass

    def _run(self, command: str) -> bool:
        try:
            done = subprocess.run(
                ["iptables", "-w", str(TIMEOUT_SECONDS), command, CHAIN, *self._rule],
                capture_output=True,
                check=False,
                timeout=2 * TIMEOUT_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0
