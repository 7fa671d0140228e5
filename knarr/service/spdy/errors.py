"""What ends a SPDY connection."""

from __future__ import annotations


class ProtocolViolation(Exception):
    """The peer does not speak SPDY/3.1, or more of it than is served; nothing it says afterwards can be understood."""


class StreamClosed(Exception):
    """The stream, or its connection, is closed for writing."""
