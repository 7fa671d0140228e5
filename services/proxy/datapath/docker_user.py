"""Docker's packet filter drops forwarded packets that it does not know; `DOCKER-USER` is the chain that Docker keeps for others' rules.

One rule there lets in what a Service has sent on to a pod, and nothing else; with a pod network another one lets in all that is for pods,
as other nodes and their pods send it. A rule carries the name of a table of ours as its comment. They are the only things of ours outside
our own tables: an `accept` elsewhere cannot overrule Docker's `DROP`. Docker writes through iptables(8), and so do we: what nft(8) writes
into its chains iptables could no longer list.
"""

from __future__ import annotations

import subprocess

TIMEOUT_SECONDS = 10
CHAIN = "DOCKER-USER"


class DockerUser:
    """Our rule in the current network namespace's `DOCKER-USER` chain, if Docker has made one."""

    def __init__(self, pod_cidr: str, name: str, *, translated_only: bool = True) -> None:
        """``translated_only``: only what a Service has sent on; else all that is for pods, as other nodes and their pods send it."""
        match = ["-m", "conntrack", "--ctstate", "DNAT"] if translated_only else []
        self._rule = ["-d", pod_cidr, *match, "-m", "comment", "--comment", name, "-j", "ACCEPT"]

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
