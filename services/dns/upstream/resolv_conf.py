"""Which servers other names are asked of: from resolv.conf, without those that would lead back. Pure but for reading files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

DNS_PORT = 53
# systemd-resolved listens here, and writes the servers it asks itself into a file of its own.
RESOLVED_STUBS = frozenset({"127.0.0.53", "127.0.0.54"})
RESOLVED_FILE = Path("/run/systemd/resolve/resolv.conf")


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Choice:
    """``left_out`` says of each server that is not asked why, in words."""

    servers: tuple[Server, ...]
    left_out: tuple[str, ...]


def parse_server(text: str) -> Server:
    """``IP``, ``IP:PORT`` or ``[IPv6]:PORT``; raises ValueError."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, str(DNS_PORT)
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ValueError(f"{text!r} is not IP or IP:PORT")
    return Server(str(ip_address(host.partition("%")[0])), int(port))


def nameservers(text: str) -> list[str]:
    """The addresses on the nameserver lines."""
    words = (line.split() for line in text.splitlines())
    return [found[1] for found in words if len(found) > 1 and found[0] == "nameserver"]


def read(path: Path, resolved: Path = RESOLVED_FILE) -> list[str]:
    """The nameservers of a file, or of systemd-resolved's where the first names its stub. A file that is not there has none."""
    found = nameservers(_text(path))
    if found and RESOLVED_STUBS.issuperset(found):
        return nameservers(_text(resolved)) or found
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def choose(texts: Iterable[str], own: Iterable[Server], cluster_ip: str) -> Choice:
    """Leaves out what is no address, what is this very server, and the cluster's DNS address, which leads back here."""
    servers: list[Server] = []
    left_out: list[str] = []
    mine = set(own)
    for text in dict.fromkeys(texts):
        try:
            server = parse_server(text)
        except ValueError as error:
            left_out.append(f"{text}: {error}")
            continue
        if server in mine:
            left_out.append(f"{server}: this is the cluster's DNS itself")
        elif cluster_ip and server.address == cluster_ip:
            left_out.append(f"{server}: this is the address of the cluster's DNS")
        else:
            servers.append(server)
    return Choice(tuple(servers), tuple(left_out))
