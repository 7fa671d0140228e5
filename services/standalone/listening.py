"""Where each part of a cluster listens: its addresses and its port.

Nothing listens beyond the loopback and the node's own address unless a person asks for it: `--rest-address`.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from services.standalone.hollow import HOLLOW
from services.standalone.settings import ClusterSettings, Ports

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
# What is opened with the first Ingress or Gateway, and told there when it cannot be.
WITH_FIRST_ROUTE = frozenset({"gateway_http", "gateway_https"})
# How often a port that the system offers may be in use elsewhere.
TRIES = 100


def rest_hosts(settings: ClusterSettings, node_address: str) -> list[str]:
    """The addresses of the REST API. Pods reach it through the `kubernetes` Service, at the node's address."""
    if settings.rest_address == EVERYWHERE:
        return [EVERYWHERE]
    return list(dict.fromkeys(filter(None, (LOOPBACK, node_address, settings.rest_address))))


def endpoints(settings: ClusterSettings, node_address: str) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """For each port by its name: the addresses and kinds of its sockets."""
    for field in dataclasses.fields(Ports):
        match field.name:
            case "rest":
                yield field.name, [(host, TCP) for host in rest_hosts(settings, node_address)]
            case "kubelet":
                yield field.name, [(node_address, TCP)]
            case "hollow":
                if settings.nodes > 1 and settings.runtime == HOLLOW:
                    yield field.name, [(node_address, TCP)]
            case "nameserver":
                yield field.name, [(node_address, TCP), (node_address, UDP)]
            case name if name in WITH_FIRST_ROUTE:
                yield field.name, [(host, TCP) for host in dict.fromkeys((LOOPBACK, node_address))]
            case _:
                yield field.name, [(settings.listen_address, TCP)]


def with_ports(settings: ClusterSettings, node_address: str) -> ClusterSettings:
    """The settings with a free port for each that is 0: others are told the number before anybody listens."""
    found: dict[str, int] = {}
    with ExitStack() as stack:
        for name, sockets in endpoints(settings, node_address):
            if getattr(settings.ports, name) == 0:
                found[name] = _free(sockets, stack)
    return dataclasses.replace(settings, ports=dataclasses.replace(settings.ports, **found))


def _free(sockets: list[tuple[str, int]], stack: ExitStack) -> int:
    """A port that is free for all of the sockets; it is held by the stack. Raises OSError when there is none."""
    (first, kind), *others = sockets
    for attempt in range(TRIES):
        with ExitStack() as trial:
            port: int = trial.enter_context(bound(first, 0, kind)).getsockname()[1]
            try:
                for address, other in others:
                    trial.enter_context(bound(address, port, other))
            except OSError:
                if attempt == TRIES - 1:
                    raise
                continue
            stack.enter_context(trial.pop_all())
            return port
    raise AssertionError("unreachable")


def bound(address: str, port: int, kind: int) -> socket.socket:
    """A socket at an address, which does not listen. Raises OSError when it cannot be had."""
    made = socket.socket(type=kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == TCP))
        made.bind((address, port))
    except BaseException:
        made.close()
        raise
    return made
