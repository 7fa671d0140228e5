"""Certificates of the ports, and how they change while HAProxy runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.gateway.haproxy.words import host

# More than goes in one command of HAProxy's at run time; a new configuration has no such limit.
MOST_BYTES = 15_000
PROTOCOLS = "[alpn h2,http/1.1]"


@dataclass(frozen=True, slots=True)
class Certificate:
    """``pem``: certificate, those that signed it, and key, without empty lines. ``hosts``: the names it is shown for; none: every other."""

    source: str
    pem: str
    hosts: tuple[str, ...] = ()


class Shelf:
    """Certificates by port. ``files`` and ``commands`` say how they come in force, and count them as such."""

    def __init__(self) -> None:
        self._wanted: dict[int, dict[Certificate, str]] = {}
        self._in_force: dict[int, dict[Certificate, str]] = {}
        self._made = 0
        # Whether a change cannot be had at run time.
        self.unwritable = False

    def put(self, port: int, certificates: Iterable[Certificate]) -> None:
        before, after = self._wanted.get(port, {}), list(dict.fromkeys(certificates))
        if list(before) == after:
            return
        # The first is shown to those who ask for none of the names: that is settled when a port is opened.
        self.unwritable |= next(iter(before), None) != (after[0] if after else None)
        self.unwritable |= any(len(each.pem) > MOST_BYTES for each in after if each not in before)
        self._wanted[port] = {each: before.get(each) or self._name() for each in after}

    def _name(self) -> str:
        self._made += 1
        return f"c{self._made}.pem"

    def files(self, ports: Iterable[int]) -> dict[str, str]:
        self.unwritable = False
        found = {}
        for port in ports:
            wanted = self._wanted.get(port, {})
            found[f"l{port}.list"] = "".join(f"{_line(name, each)}\n" for each, name in wanted.items())
            found |= {name: each.pem for each, name in wanted.items()}
        self._in_force = {port: dict(wanted) for port, wanted in self._wanted.items()}
        return found

    def commands(self) -> Iterator[str]:
        for port, wanted in self._wanted.items():
            found = self._in_force.get(port, {})
            for each in wanted.keys() - found.keys():
                name = wanted[each]
                yield f"new ssl cert {name}"
                yield f"set ssl cert {name} <<\n{each.pem.strip()}\n"
                yield f"commit ssl cert {name}"
                yield f"add ssl crt-list l{port}.list <<\n{_line(name, each)}\n"
            for each in found.keys() - wanted.keys():
                yield f"del ssl crt-list l{port}.list {found[each]}"
                yield f"del ssl cert {found[each]}"
            self._in_force[port] = dict(wanted)


def _line(name: str, certificate: Certificate) -> str:
    return f"{name} {PROTOCOLS} {' '.join(map(host, certificate.hosts))}".rstrip()
