"""Links, addresses, routes and neighbours as bytes, and lists that change while they are told; what the kernel makes of them is in
test_pod_links.py and test_bridge_ports.py."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import DONE, ERROR, HEADER, TORN, NetlinkRefused, attribute, message
from knarr.netlink.route_socket import TRIES, RouteSocket


def test_what_is_asked_for_reads_as_what_is_told() -> None:
    data = attribute(1, rt.NUMBER.pack(42))
    link = rt.Link.parse(rt.link_body(7, rt.UP, name="knarr-vx", mac="02:42:00:00:00:01", mtu=1450, kind="vxlan", data=data))
    assert link == rt.Link(7, rt.UP, "knarr-vx", "02:42:00:00:00:01", 1450, "vxlan", data)
    assert rt.Address.parse(rt.address_body(7, "10.0.0.1", 24, "lo:x")) == rt.Address(7, 24, "10.0.0.1", "10.0.0.1", "lo:x")
    body = rt.route_body(
        "10.1.0.0/16", kind=rt.UNICAST, protocol=75, scope=rt.SCOPE_LINK, gateway="10.0.0.2", link=7, priority=4_000_000_000
    )
    route = rt.Route.parse(body)
    assert route == rt.Route("10.1.0.0", 16, rt.UNICAST, 75, rt.SCOPE_LINK, "10.0.0.2", 7, 4_000_000_000)
    assert (route.cidr, rt.protocol_of(body)) == ("10.1.0.0/16", 75)
    entry = rt.neighbour_body(rt.BRIDGE, 7, "192.0.2.8", "02:42:00:00:00:02", state=rt.PERMANENT, flags=rt.SELF)
    assert rt.Neighbour.parse(entry) == rt.Neighbour(7, rt.PERMANENT, "192.0.2.8", "02:42:00:00:00:02")


def test_what_is_not_told_is_empty() -> None:
    assert rt.Route.parse(rt.ROUTE.pack(rt.IPV4, 0, 0, 0, 254, 3, 0, 1, 0)) == rt.Route("", 0, 1, 3, 0)
    assert rt.Link.parse(rt.LINK.pack(0, 1, 0, 0)) == rt.Link(1, 0, "", "", 0, "", b"")
    # An entry of another family, and an interface without an address.
    assert rt.Neighbour.parse(rt.NEIGHBOUR.pack(rt.BRIDGE, 1, 0, 0, 0) + attribute(1, bytes(16))) == rt.Neighbour(1, 0, "", "")


def test_an_address_that_is_no_whole_network_is_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        rt.route_body("10.1.0.1/16", kind=rt.UNICAST, protocol=75)


class Kernel:
    """Answers each question with the next of these, torn as often as it is told."""

    def __init__(self, *, torn: int = 0, error: int = 0) -> None:
        self.torn, self.error, self.asked = torn, error, 0
        self._sequence = 0

    def send(self, data: bytes) -> None:
        self.asked += 1
        self._sequence = HEADER.unpack_from(data)[3]

    def recv(self, _: int) -> bytes:
        if self.error:
            return message(ERROR, 0, self._sequence, struct.pack("=i", -self.error))
        flags = TORN if self.asked <= self.torn else 0
        stale = message(rt.ADDRESS_NEW, 0, self._sequence - 1, rt.address_body(9, "10.0.0.9"))
        found = message(rt.ADDRESS_NEW, flags, self._sequence, rt.address_body(7, f"10.0.0.{self.asked}"))
        return stale + found + message(DONE, flags, self._sequence, struct.pack("=i", 0))

    def close(self) -> None:
        pass


def route_socket(kernel: Kernel) -> RouteSocket:
    made = RouteSocket()
    made.close()
    made._socket = kernel  # type: ignore[assignment]
    return made


def test_a_list_that_changed_while_it_was_told_is_asked_for_again() -> None:
    kernel = Kernel(torn=2)
    assert [one.local for one in route_socket(kernel).addresses()] == ["10.0.0.3"]
    restless = Kernel(torn=1000)
    with pytest.raises(InterruptedError, match="changes again and again"):
        route_socket(restless).addresses()
    assert restless.asked == TRIES


def test_refusals_are_told_by_what_can_be_done_about_them() -> None:
    body = rt.address_body(7, socket.inet_ntoa(bytes(4)))
    with pytest.raises(PermissionError, match="NET_ADMIN"):
        route_socket(Kernel(error=errno.EPERM)).change(rt.ADDRESS_NEW, 0, body)
    with pytest.raises(NetlinkRefused) as refused:
        route_socket(Kernel(error=errno.EEXIST)).change(rt.ADDRESS_NEW, 0, body)
    assert refused.value.errno == errno.EEXIST
    assert route_socket(Kernel(error=errno.ENODEV)).link("nonesuch") is None
    with pytest.raises(OSError, match="File name"):
        route_socket(Kernel(error=errno.ENAMETOOLONG)).link("x" * 100)
