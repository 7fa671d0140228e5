"""Whose something is that lies on the machine outside any folder, and which clusters live.

**Whose it is** its name says: all that a cluster makes there bears the eight digits that its folder keeps (``Files.cluster_id``), or as
many of them as there is room for. What bears none is nobody's that could be judged: it is left alone.

**A cluster lives** while a process of its own does, whatever the cluster is called, wherever its folder is and whoever runs it. That shows
from two sides, and either is enough:

- the process holds its folder open (lock.py), or is told the digits on its command line, as kubelets and proxies of their own are: seen of
  every process that there is to be seen, also of one in another network, which may share the engine;
- it holds a mark, an abstract Unix socket: seen in the network in which its rules and routes are, also from where its process is not, and
  when somebody has removed its folder. The kernel takes the mark away with the process.

Where a thing tells the folder, the lock on that is asked too, which holds everywhere. A control group alone is no evidence: groups are to
be seen from machines in namespaces of their own, too, from which neither the network nor the process of their cluster is.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.kubelet.proc import PROC
from services.standalone.files import Files

# Names of tables and networks, of interfaces, and of control groups.
_OWNED = re.compile(r"(?:knarr-(?:policy-|pods-)?|k[nv]-|knarr_)([0-9a-f]{8})(?![0-9a-f])")
_MARK = "knarr/"
_MARKED = re.compile(rf"@{_MARK}([0-9a-f]{{8}})$", re.MULTILINE)
# Of a process that may hold a cluster's folder, and of one that is told whose it is.
_CLUSTER, _TOLD = re.compile(rb"\bservices\.standalone\b"), re.compile(rb"--(?:cluster-id|instance)[=\0]([0-9a-f]{8})\0")


def owner_of(name: str) -> str:
    """The digits of the cluster that something with this name is of; empty where it is nobody's."""
    found = _OWNED.match(name)
    return found[1] if found else ""


def is_among(owner: str, clusters: frozenset[str]) -> bool:
    """Whether it is one of these; of an ``owner`` it may be that only the beginning is known."""
    return any(cluster.startswith(owner) for cluster in clusters)


def mark(cluster_id: str) -> socket.socket:
    """Shows that a cluster lives, for as long as what is answered is open. Where it is there already, somebody else shows the same."""
    made = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        made.bind(f"\0{_MARK}{cluster_id}")
    return made


def living(proc: Path = PROC) -> frozenset[str]:
    """The clusters that live, as root sees it."""
    found = _marked(proc / "self")
    networks = set[int]()
    for process in proc.glob("[0-9]*"):
        # It may end meanwhile.
        with suppress(OSError):
            if (network := (process / "ns/net").stat().st_ino) not in networks:
                found |= _marked(process)
                networks.add(network)
            found |= set(_of_process(process))
    return frozenset(found)


def _marked(process: Path) -> set[str]:
    return set(_MARKED.findall((process / "net/unix").read_text()))


def _of_process(process: Path) -> Iterator[str]:
    words = (process / "cmdline").read_bytes()
    yield from (digits.decode() for digits in _TOLD.findall(words + b"\0"))
    if _CLUSTER.search(words):
        yield from filter(None, (Files(handle).known_id() for handle in (process / "fd").iterdir() if handle.is_dir()))
