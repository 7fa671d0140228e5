"""Netlink messages and attributes as bytes; what the kernel makes of them is in test_netlink.py."""

from __future__ import annotations

import struct

from knarr.netlink.messages import ACK, ERROR, HEADER, NESTED, REQUEST, attribute, attributes, message, messages, only


def test_messages_stand_in_a_row_each_on_four_bytes() -> None:
    first = message(16, REQUEST | ACK, 7, b"abcde")
    assert first[: HEADER.size] == struct.pack("=IHHII", 21, 16, 5, 7, 0)
    found = list(messages(first + bytes(3) + message(17, REQUEST, 8, b"")))
    assert [(one.kind, one.sequence, one.body) for one in found] == [(16, 7, b"abcde"), (17, 8, b"")]


def test_an_error_number_is_told_as_the_kernel_means_it() -> None:
    refused, done = messages(message(ERROR, 0, 1, struct.pack("=i", -17)) + message(ERROR, 0, 2, struct.pack("=i", 0)))
    assert (refused.error, done.error) == (17, 0)


def test_attributes_are_padded_and_found_by_kind() -> None:
    data = attribute(1, b"name\0") + attribute(2 | NESTED, attribute(3, b"x")) + attribute(1, b"second")
    assert len(data) % 4 == 0
    assert [kind for kind, _ in attributes(data)] == [1, 2, 1]
    assert (only(data, 1), only(only(data, 2), 3), only(data, 9)) == (b"name\0", b"x", b"")


def test_lengths_too_short_to_be_true_end() -> None:
    assert len(list(messages(bytes(64)))) == 4
    assert len(list(attributes(bytes(16)))) == 4
