"""The chains of iptables in which CNI's `firewall` plugin lets pods' packets through, and which it leaves when the last pod is gone."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

log = logging.getLogger(__name__)

FORWARD, ADMIN = "CNI-FORWARD", "CNI-ADMIN"
CHAINS = (FORWARD, ADMIN)


def removal(rules: str) -> str:
    """What `iptables-restore` is given so that the chains go, of what `iptables -S` said; empty where they are not there, or lead for
    somebody: pods of another network, or who put rules of his own into CNI-ADMIN. Pure."""
    lines = rules.splitlines()
    if f"-N {FORWARD}" not in lines:
        return ""
    inside = [line for line in lines if line.startswith(tuple(f"-A {chain} " for chain in CHAINS))]
    to_admin = [line for line in inside if line.startswith(f"-A {FORWARD} ") and line.endswith(f" -j {ADMIN}")]
    if inside != to_admin:
        return ""
    ways = [line for line in lines if line.startswith("-A ") and line.endswith(tuple(f" -j {chain}" for chain in CHAINS))]
    chains = [f"-X {chain}" for chain in CHAINS if f"-N {chain}" in lines]
    return "\n".join(["*filter", *(line.replace("-A ", "-D ", 1) for line in ways), *chains, "COMMIT", ""])


async def remove_idle_chains() -> None:
    """At once or not at all: where a pod of another network came meanwhile, the kernel keeps both."""
    with suppress(FileNotFoundError):
        if text := removal(await _run("iptables", "--wait", "-S")):
            await _run("iptables-restore", "--wait", "--noflush", given=text)


async def _run(*command: str, given: str = "") -> str:
    """What it says; nothing, and a line in the log, where it fails."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    said, complained = await process.communicate(given.encode())
    if process.returncode:
        log.info("chains of pods' networks stay", extra={"command": command[0], "error": complained.decode(errors="replace").strip()})
        return ""
    return said.decode()
