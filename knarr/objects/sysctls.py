"""Kernel parameters of a pod: how they are written, and whose they are."""

from __future__ import annotations

IPC, NETWORK = "IPC", "network"
_IPC_NAMES = ("kernel.sem",)
_IPC_PREFIXES = ("kernel.shm", "kernel.msg", "fs.mqueue.")
_NETWORK_PREFIX = "net."


def dotted(name: str) -> str:
    """``net/ipv4/ip_forward`` → ``net.ipv4.ip_forward``; a name whose first separator is a dot stays, slashes in it are dots of a part."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def namespace_of(name: str) -> str:
    """Whether the kernel keeps a dotted parameter for each IPC or network namespace; empty: once for the machine."""
    if name in _IPC_NAMES or name.startswith(_IPC_PREFIXES):
        return IPC
    return NETWORK if name.startswith(_NETWORK_PREFIX) else ""
