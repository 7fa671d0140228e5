"""Docker's packet filter drops forwarded packets that it does not know; `DOCKER-USER` is the chain that Docker keeps for others' rules.

One rule there lets in what a Service has sent on to a pod, and nothing else; with a pod network another one lets in all that is for pods,
as other nodes and their pods send it. A rule carries the name of a table of ours as its comment. They are the only things of ours outside
our own tables: an `accept` elsewhere cannot overrule Docker's `DROP`. Docker writes through iptables(8), and so do we: what nft(8) writes
into its chains iptables could no longer list.
"""

from __future__ import annotations

import shlex
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

    def _run(self, command: str) -> bool:
        return _iptables(command, CHAIN, *self._rule) is not None


def named_rules() -> list[tuple[str, list[str]]]:
    """The rules of the chain that have a comment: that, and the words by which iptables knows the rule."""
    listed = (shlex.split(line) for line in (_iptables("-S", CHAIN) or "").splitlines() if line.startswith("-A "))
    return [(words[words.index("--comment") + 1], words[2:]) for words in listed if "--comment" in words]


def remove_rules(name: str) -> None:
    """Removes every rule that carries a name, for whatever range it was."""
    for comment, words in named_rules():
        if comment == name:
            _iptables("-D", CHAIN, *words)


def _iptables(*words: str) -> str | None:
    """What it says; None where it refuses, is not there or has not the privilege."""
    try:
        done = subprocess.run(
            ["iptables", "-w", str(TIMEOUT_SECONDS), *words], capture_output=True, check=False, timeout=2 * TIMEOUT_SECONDS, text=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
