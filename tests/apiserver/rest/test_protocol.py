"""Head and body of an answer leave in one piece, and nothing is ever held back for good."""

from __future__ import annotations

from typing import Any

import pytest

from services.apiserver.rest.protocol import COPY_BYTES, CorkedTransport


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> Any:
        return f"the {name}"


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


def test_one_write_is_held_back(transport: FakeTransport) -> None:
    corked = CorkedTransport(transport)  # type: ignore[arg-type]
    corked.write(b"a")
    corked.cork()
    corked.write(b"head ")
    assert transport.written == [b"a"]
    corked.write(b"body")
    corked.write(b"b")
    assert transport.written == [b"a", b"head body", b"b"]


def test_an_empty_body_lets_the_head_go(transport: FakeTransport) -> None:
    corked = CorkedTransport(transport)  # type: ignore[arg-type]
    corked.cork()
    corked.write(b"head")
    corked.write(b"")
    assert transport.written == [b"head"]


def test_a_large_body_is_not_copied(transport: FakeTransport) -> None:
    corked = CorkedTransport(transport)  # type: ignore[arg-type]
    body = b"x" * COPY_BYTES
    corked.cork()
    corked.write(b"head")
    corked.write(body)
    assert transport.written[0] == b"head" and transport.written[1] is body


def test_close_writes_what_is_held(transport: FakeTransport) -> None:
    corked = CorkedTransport(transport)  # type: ignore[arg-type]
    corked.cork()
    corked.write(b"head")
    corked.close()
    assert (transport.written, transport.closed) == ([b"head"], True)


def test_everything_else_is_the_transports(transport: FakeTransport) -> None:
    assert CorkedTransport(transport).get_extra_info("peer") == "the peer"  # type: ignore[arg-type]
