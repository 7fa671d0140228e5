"""Where a cluster listens: nowhere that nobody asked for, and at ports that everybody knows before."""

from __future__ import annotations

import dataclasses
import socket
from contextlib import ExitStack

import pytest

from services.standalone import preflight
from services.standalone.listening import TCP, UDP, bound, endpoints, rest_hosts, with_ports
from services.standalone.settings import ClusterSettings, Ports

NODE = "127.0.0.2"
ZEROS = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})


@pytest.fixture(autouse=True)
def no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cluster on this machine has the same ranges."""
    monkeypatch.setattr(preflight, "read_route_problems", lambda settings: ())


@pytest.mark.parametrize(
    ("asked", "node", "hosts"),
    [
        ("", NODE, ["127.0.0.1", NODE]),
        ("", "127.0.0.1", ["127.0.0.1"]),
        ("192.0.2.9", NODE, ["127.0.0.1", NODE, "192.0.2.9"]),
        (NODE, NODE, ["127.0.0.1", NODE]),
        ("0.0.0.0", NODE, ["0.0.0.0"]),
    ],
)
def test_rest_listens_on_loopback_and_the_node_unless_asked(asked: str, node: str, hosts: list[str]) -> None:
    assert rest_hosts(ClusterSettings(rest_address=asked), node) == hosts


def test_zeros_become_ports_that_are_free_at_every_address() -> None:
    settings = with_ports(ClusterSettings(ports=dataclasses.replace(ZEROS, proxy=1234)), NODE)
    ports = dataclasses.asdict(settings.ports)
    assert ports.pop("proxy") == 1234
    # Nobody listens there without simulated nodes.
    assert ports.pop("hollow") == 0
    assert 0 not in ports.values() and len(set(ports.values())) == len(ports)
    with ExitStack() as stack:
        for name, sockets in endpoints(settings, NODE):
            for address, kind in sockets if name != "proxy" else ():
                stack.enter_context(bound(address, ports[name], kind))


def test_a_port_that_is_taken_at_one_address_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system offers what is free at the first address; another is asked for until one is free at all."""
    with bound(NODE, 0, UDP) as taken:
        number = taken.getsockname()[1]
        offers = iter([number, 0])

        def offering(address: str, port: int, kind: int) -> socket.socket:
            return bound(address, next(offers) if port == 0 else port, kind)

        monkeypatch.setattr("services.standalone.listening.bound", offering)
        settings = with_ports(ClusterSettings(ports=dataclasses.replace(Ports(), nameserver=0)), NODE)
    assert settings.ports.nameserver not in (0, number)


@pytest.mark.parametrize(
    ("name", "address", "kind"), [("kubelet", NODE, TCP), ("rest", NODE, TCP), ("nameserver", NODE, UDP), ("dns", "127.0.0.1", TCP)]
)
def test_the_address_that_will_be_bound_is_the_one_that_is_tried(
    name: str, address: str, kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "node_address", lambda: NODE)
    with bound(address, 0, kind) as taken:
        if kind == TCP:
            taken.listen()
        port = taken.getsockname()[1]
        settings = ClusterSettings(runtime="hollow", datapath="userspace", ports=dataclasses.replace(ZEROS, **{name: port}))
        (problem,) = preflight.problems(settings)
    assert problem == f"port {port} ({name}) on {address} cannot be used: Address already in use; choose another with --{name}-port"


def test_an_address_of_another_machine_is_named_by_its_option() -> None:
    settings = ClusterSettings(runtime="hollow", datapath="userspace", ports=ZEROS, rest_address="203.0.113.9")
    (problem,) = preflight.problems(settings)
    assert problem.startswith("--rest-address 203.0.113.9 is no address of this machine")
