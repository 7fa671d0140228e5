"""SPDY/3.1 as bytes: what is written is read, in whatever pieces it comes; and anything else is refused within bounds."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.service.spdy.connection import (
    STREAMS,
    Broken,
    Connection,
    Event,
    Finished,
    Left,
    Opened,
    Received,
    Replied,
)
from knarr.service.spdy.errors import ProtocolViolation, StreamClosed
from knarr.service.spdy.frames import (
    CONTROL_BYTES,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Data,
    Frame,
    FrameDecoder,
    FrameEncoder,
    GoAway,
    Headers,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)
from knarr.service.spdy.headers import BLOCK_BYTES, DICTIONARY, PAIRS

NUMBERS = st.integers(0, 2**31 - 1)
WORDS = st.integers(0, 2**32 - 1)
NAMES = st.text(st.characters(codec="latin-1", exclude_categories=["Lu", "Lt"]), min_size=1, max_size=20)
HEADERS = st.dictionaries(
    NAMES.map(str.lower).filter(lambda name: name == name.lower()), st.text(st.characters(codec="latin-1"), max_size=30)
)
FRAMES = st.one_of(
    st.builds(SynStream, NUMBERS, HEADERS, st.booleans(), st.booleans(), NUMBERS, st.integers(0, 7)),
    st.builds(SynReply, NUMBERS, HEADERS, st.booleans()),
    st.builds(Headers, NUMBERS, HEADERS, st.booleans()),
    st.builds(Data, NUMBERS, st.binary(max_size=200), st.booleans()),
    st.builds(RstStream, NUMBERS, WORDS),
    st.builds(Settings, st.dictionaries(st.integers(0, 2**24 - 1), WORDS, max_size=5)),
    st.builds(Ping, WORDS),
    st.builds(GoAway, NUMBERS, WORDS),
    st.builds(WindowUpdate, NUMBERS, NUMBERS),
)


def decoded(decoder: FrameDecoder, data: bytes) -> list[Frame]:
    return list(decoder.feed(data))


def joined(frames: list[Frame]) -> list[Frame]:
    """With the pieces of a data frame in one."""
    result: list[Frame] = []
    for frame in frames:
        last = result[-1] if result else None
        if isinstance(frame, Data) and isinstance(last, Data) and last.stream == frame.stream and not last.fin:
            result[-1] = Data(frame.stream, last.data + frame.data, frame.fin)
        else:
            result.append(frame)
    return result


class TestFrames:
    @given(frames=st.lists(FRAMES, max_size=8), data=st.data())
    def test_what_is_written_is_read_however_it_is_cut(self, frames: list[Frame], data: Any) -> None:
        encoder, decoder = FrameEncoder(), FrameDecoder()
        wire = b"".join(map(encoder.encode, frames))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
        found = [frame for begin, end in pairwise([0, *cuts, len(wire)]) for frame in decoder.feed(wire[begin:end])]
        assert joined(found) == joined(frames)

    @given(st.lists(st.binary(max_size=64), max_size=10))
    def test_noise_is_refused_or_means_nothing(self, pieces: list[bytes]) -> None:
        decoder = FrameDecoder()
        try:
            for piece in pieces:
                decoded(decoder, piece)
        except ProtocolViolation:
            return

    @given(frames=st.lists(FRAMES, min_size=1, max_size=4), data=st.data())
    def test_a_byte_that_was_changed_is_refused_or_means_something_else(self, frames: list[Frame], data: Any) -> None:
        encoder = FrameEncoder()
        wire = bytearray(b"".join(map(encoder.encode, frames)))
        wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
        connection = Connection()
        try:
            for _ in connection.receive(bytes(wire)):
                pass
        except ProtocolViolation:
            return

    def test_bytes_as_the_specification_has_them(self) -> None:
        encoder = FrameEncoder()
        assert encoder.encode(Ping(1)).hex() == "800300060000000400000001"
        assert encoder.encode(RstStream(3, 5)).hex() == "80030003000000080000000300000005"
        assert encoder.encode(Data(3, b"abc", True)).hex() == "0000000301000003616263"
        assert encoder.encode(SynReply(1)).hex().startswith("80030002")
        opening = encoder.encode(SynStream(1, {"a": "b"}, priority=7))
        assert opening[16:18].hex() == "e000"

    def test_header_blocks_are_one_stream_over_the_known_dictionary(self) -> None:
        assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
        encoder = FrameEncoder()
        first, second = (encoder.encode(SynReply(1, {"streamtype": "error"})) for _ in range(2))
        assert first[14:18] == bytes.fromhex("e3c6a7c2")
        assert len(second) < len(first)

    def test_a_data_frame_of_any_size_is_passed_on_in_pieces(self) -> None:
        decoder = FrameDecoder()
        assert decoded(decoder, struct.pack(">II", 5, 1 << 24 | 0xFFFFFF) + b"ab") == [Data(5, b"ab")]
        assert decoded(decoder, b"c" * (0xFFFFFF - 3)) == [Data(5, b"c" * (0xFFFFFF - 3))]
        assert decoded(decoder, b"d") == [Data(5, b"d", True)]

    def test_a_control_frame_has_a_limit(self) -> None:
        with pytest.raises(ProtocolViolation, match=f"more than {CONTROL_BYTES} bytes"):
            decoded(FrameDecoder(), struct.pack(">II", 0x80030006, CONTROL_BYTES + 1))

    def test_a_header_block_that_unpacks_to_too_much_is_refused(self) -> None:
        packer = zlib.compressobj(zdict=DICTIONARY)
        block = packer.compress(struct.pack(">III", 1, 1, BLOCK_BYTES * 200) + b"a" * BLOCK_BYTES * 200) + packer.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack(">I", 1) + block
        with pytest.raises(ProtocolViolation, match=f"unpacks to more than {BLOCK_BYTES} bytes"):
            decoded(FrameDecoder(), struct.pack(">II", 0x80030002, len(payload)) + payload)

    def test_too_many_headers_are_refused(self) -> None:
        with pytest.raises(ProtocolViolation, match=f"more than {PAIRS} headers"):
            decoded(FrameDecoder(), FrameEncoder().encode(SynReply(1, {str(number): "" for number in range(PAIRS + 1)})))

    @pytest.mark.parametrize("wire", ["800200060000000400000001", "800300060000000100", "800300040000000400000009"])
    def test_other_versions_and_frames_that_are_cut_short_are_refused(self, wire: str) -> None:
        with pytest.raises(ProtocolViolation):
            decoded(FrameDecoder(), bytes.fromhex(wire))

    def test_a_kind_that_is_not_known_is_passed_over(self) -> None:
        assert decoded(FrameDecoder(), bytes.fromhex("8003000a000000020000800300060000000400000001")) == [Ping(1)]


def talk(client: Connection, server: Connection) -> tuple[list[Event], list[Event]]:
    """What each side hears of what the other has said."""
    to_server, to_client = client.take(), server.take()
    heard = list(client.receive(to_client)), list(server.receive(to_server))
    return heard


class TestConnection:
    def test_a_stream_from_its_opening_to_its_end(self) -> None:
        client, server = Connection(client=True), Connection()
        number = client.open({"streamType": "stdin"})
        assert talk(client, server) == ([], [Opened(1, {"streamtype": "stdin"})])
        server.reply(number)
        server.send(number, b"x" * 100_000)
        client.send(number, b"hello", fin=True)
        heard, said = talk(client, server)
        assert heard[0] == Replied(1, {})
        assert b"".join(event.data for event in heard if isinstance(event, Received)) == b"x" * 100_000
        assert said == [Received(1, b"hello"), Finished(1)]
        assert server.is_open(1)
        server.send(number, b"", fin=True)
        assert talk(client, server) == ([Finished(1)], [])
        assert not server.is_open(1) and not client.is_open(1)
        with pytest.raises(StreamClosed):
            server.send(number, b"more")

    def test_a_stream_is_given_up(self) -> None:
        client, server = Connection(client=True), Connection()
        number = client.open({})
        talk(client, server)
        client.send(number, b"on its way")
        server.reset(number)
        assert talk(client, server) == ([Broken(1, 5)], [])
        with pytest.raises(StreamClosed):
            client.send(number, b"more")

    def test_numbers_grow_and_are_the_peers_own(self) -> None:
        encoder, server = FrameEncoder(), Connection()
        for number, refused in ((3, False), (3, True), (1, True), (4, True), (5, False)):
            opened = list(server.receive(encoder.encode(SynStream(number))))
            assert opened == ([] if refused else [Opened(number, {})])
            assert decoded(FrameDecoder(), server.take()) == ([RstStream(number, PROTOCOL_ERROR)] if refused else [])

    def test_so_many_streams_and_no_more(self) -> None:
        encoder, server = FrameEncoder(), Connection()
        for number in range(STREAMS):
            assert list(server.receive(encoder.encode(SynStream(2 * number + 1))))
        assert not list(server.receive(encoder.encode(SynStream(2 * STREAMS + 1))))
        assert decoded(FrameDecoder(), server.take()) == [RstStream(2 * STREAMS + 1, REFUSED_STREAM)]
        server.reset(1)
        assert list(server.receive(encoder.encode(SynStream(2 * STREAMS + 3)))) == [Opened(2 * STREAMS + 3, {})]

    def test_pings_of_the_peer_are_answered_and_answers_are_not(self) -> None:
        server = Connection()
        assert not list(server.receive(FrameEncoder().encode(Ping(7))))
        assert decoded(FrameDecoder(), server.take()) == [Ping(7)]
        list(server.receive(FrameEncoder().encode(Ping(2))))
        assert not server.take()

    def test_goodbyes(self) -> None:
        client, server = Connection(client=True), Connection()
        client.open({})
        talk(client, server)
        server.leave()
        client.open({})
        heard, said = talk(client, server)
        assert (heard, said) == ([Left()], [])
        assert talk(client, server)[0] == [Broken(3, REFUSED_STREAM)]

    def test_windows_change_nothing(self) -> None:
        encoder, server = FrameEncoder(), Connection()
        assert not list(server.receive(encoder.encode(Settings({7: 1})) + encoder.encode(WindowUpdate(1, 5)) + encoder.encode(Headers(9))))
        assert not server.take()

    @given(st.lists(FRAMES, max_size=12))
    def test_whatever_comes_a_stream_is_opened_before_it_is_heard(self, frames: list[Frame]) -> None:
        encoder, server, opened = FrameEncoder(), Connection(), set()
        for frame in frames:
            for event in server.receive(encoder.encode(frame)):
                if isinstance(event, Opened):
                    opened.add(event.stream)
                elif not isinstance(event, Left):
                    assert event.stream in opened
