"""A loop of the tests that closes with something open says so, and ends."""

from __future__ import annotations

import asyncio
import warnings

import pytest

from tests.support.loops import new_uvloop


def test_what_is_open_when_a_loop_closes_is_told_and_closed() -> None:
    loop = new_uvloop()
    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ResourceWarning, match="unclosed resource"):
            loop.close()
    assert loop.is_closed() and transport.get_extra_info("socket") is None
