"""Tells a network that an address is ours now: neighbours that knew it at another machine send to us from then on (RFC 5227)."""

from __future__ import annotations

import socket
import struct

ETHERTYPE_ARP = 0x0806
BROADCAST = b"\xff" * 6
REQUEST, REPLY = 1, 2
# Ethernet and IPv4, with the lengths of their addresses.
KINDS = struct.pack("!HHBB", 1, 0x0800, 6, 4)


def announcements(mac: bytes, address: str) -> list[bytes]:
    """The frames: a request and a reply, since some neighbours believe only one of them."""
    ip = socket.inet_aton(address)
    head = BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP) + KINDS
    return [
        head + struct.pack("!H", REQUEST) + mac + ip + bytes(6) + ip,
        head + struct.pack("!H", REPLY) + mac + ip + BROADCAST + ip,
    ]


def announce(device: str, address: str) -> None:
    """Says on an interface's network that an address is there. OSError without NET_RAW, or where the interface is down."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((device, 0))
        mac = sock.getsockname()[4]
        if len(mac) != len(BROADCAST):
            return
        for frame in announcements(mac, address):
            sock.send(frame)
