"""The client of etcd's calls: what it makes of every way in which a peer may answer, cut short, close or fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from aetcd import rpc
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver.storage.wire import frames, session
from services.apiserver.storage.wire.channel import Address, Channel, Limits, Question
from services.apiserver.storage.wire.frames import ProtocolError
from services.apiserver.storage.wire.streams import STREAM_WINDOW_BYTES, CallError, Stream
from tests.apiserver.storage.peer import HEAD, LIMITS, WELL, Peer, played
from tests.support.loops import new_uvloop
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(60)
ASK, SECONDS = rpc.RangeRequest(key=b"a"), 10.0


def range_of(channel: Channel) -> Question[Any]:
    return channel.question("/etcdserverpb.KV/Range", rpc.RangeResponse)


def answer(count: int) -> bytes:
    raw: bytes = rpc.RangeResponse(count=count).SerializeToString()
    return raw


async def error_of(channel: Channel, seconds: float = SECONDS) -> CallError:
    with pytest.raises(CallError) as caught:
        await range_of(channel).ask(ASK, seconds)
    return caught.value


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
async def test_messages_are_whole_however_they_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    call = Stream(b"", b"", 100)
    found: list[bytes] = []
    left = b"".join(map(frames.message, messages))
    while left:
        size = data.draw(st.integers(1, len(left)))
        call.receive(left[:size])
        left = left[size:]
    call.end(None)
    with pytest.raises(CallError):
        while True:
            found.append(await call.next())
    assert found == messages


@given(st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_frames_are_whole_however_they_are_cut(payloads: list[bytes], data: st.DataObject) -> None:
    left, reader = b"".join(frames.frame(frames.DATA, 0, 1, payload) for payload in payloads), frames.Frames()
    found: list[frames.Frame] = []
    while left:
        size = data.draw(st.integers(1, len(left)))
        found += reader.feed(left[:size])
        left = left[size:]
    assert [frame.payload for frame in found] == payloads


@given(st.binary(max_size=60))
def test_what_is_no_frame_is_refused_or_waits(data: bytes) -> None:
    try:
        for found in frames.Frames().feed(data):
            frames.unpadded(found)
        frames.Answers().headers(data)
        frames.read_settings(data)
        frames.number(data)
    except ProtocolError:
        pass


async def test_many_ask_at_once_and_are_answered_in_any_order() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        asked = [await peer.request() for _ in range(20)]
        for stream, message in reversed(asked):
            peer.answer(stream, answer(rpc.RangeRequest.FromString(message).limit))
        await peer.next()

    async with played(play) as channel:
        asks = [range_of(channel).ask(rpc.RangeRequest(limit=number), SECONDS) for number in range(20)]
        assert [found.count for found in await asyncio.gather(*asks)] == list(range(20))


def test_a_call_whose_time_is_over_does_not_refuse_the_next_one() -> None:
    """By uvloop, which components run on: where it was held up, the time of what waits is over before it is sent."""

    async def play(peer: Peer) -> None:
        await peer.greet()
        stream, _ = await peer.request()
        peer.answer(stream, answer(1))
        while True:
            found = await peer.next()
            if found.kind == frames.HEADERS:
                stream = found.stream
            if found.kind == frames.DATA and found.stream == stream:
                peer.answer(stream, answer(2))

    async def main() -> None:
        async with played(play) as channel:
            assert (await range_of(channel).ask(ASK, SECONDS)).count == 1
            late, asked = asyncio.gather(error_of(channel, 0.0)), range_of(channel).ask(ASK, SECONDS)
            assert (await asked).count == 2
            assert [error.code() for error in await late] == [grpc.StatusCode.DEADLINE_EXCEEDED]

    with asyncio.Runner(loop_factory=new_uvloop) as runner:
        runner.run(main())


async def test_no_more_is_sent_than_the_peer_takes() -> None:
    """Its window of the connection is used up, then granted in pieces, while that of the stream is granted at once."""
    large = rpc.RangeRequest(key=b"k" * 200_000)

    async def play(peer: Peer) -> None:
        await peer.greet()
        stream = (await peer.next(frames.HEADERS)).stream
        body = b""
        while len(body) < frames.DEFAULT_WINDOW:
            body += (await peer.next(frames.DATA)).payload
        assert len(body) == frames.DEFAULT_WINDOW
        peer.send(frames.window_update(stream, 1_000_000), frames.frame(frames.PING, 0, 0, bytes(8)))
        assert (await peer.next()).kind == frames.PING
        ended = False
        while not ended:
            peer.send(frames.window_update(0, 50_000))
            granted = 50_000
            while granted and not ended:
                found = await peer.next(frames.DATA)
                body, granted, ended = body + found.payload, granted - len(found.payload), bool(found.flags & frames.END_STREAM)
            assert granted >= 0
        assert rpc.RangeRequest.FromString(body[frames.MESSAGE_HEAD :]) == large
        peer.answer(stream, answer(1))
        await peer.next()

    async with played(play) as channel:
        assert (await range_of(channel).ask(large, SECONDS)).count == 1


async def test_a_large_message_that_waits_for_its_window_holds_up_no_other() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet({frames.INITIAL_WINDOW_SIZE: 1000})
        peer.send(frames.window_update(0, 1_000_000))
        large = (await peer.next(frames.HEADERS)).stream
        body = (await peer.next(frames.DATA)).payload
        small, _ = await peer.request()
        peer.answer(small, answer(2))
        peer.send(frames.window_update(large, 10_000))
        while not (found := await peer.next(frames.DATA)).flags & frames.END_STREAM:
            body += found.payload
        assert found.stream == large and len(body + found.payload) > 5000
        peer.answer(large, answer(1))
        await peer.next()

    async with played(play) as channel:
        async with asyncio.timeout(SECONDS):
            while channel.usable is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        large = asyncio.ensure_future(range_of(channel).ask(rpc.RangeRequest(key=b"k" * 5000), SECONDS))
        small = asyncio.ensure_future(range_of(channel).ask(ASK, SECONDS))
        assert [(await small).count, (await large).count] == [2, 1]


async def test_a_connection_without_numbers_left_gives_way_to_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LAST_NUMBER", 5)
    answered: list[int] = []

    async def play(peer: Peer) -> None:
        await peer.greet()
        while True:
            found = await peer.next()
            if found.kind == frames.DATA:
                answered.append(found.stream)
                peer.answer(found.stream, answer(len(answered)))

    async with played(play) as channel:
        for number in range(1, 8):
            assert (await range_of(channel).ask(ASK, SECONDS)).count == number
    assert answered == [1, 3, 5, 1, 3, 5, 1]


async def test_an_answer_that_is_too_large_is_refused_by_its_head_and_others_go_on() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        stream, _ = await peer.request()
        head = frames.message(b"")[:1] + (LIMITS.message_bytes + 1).to_bytes(4, "big")
        peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, HEAD), frames.frame(frames.DATA, 0, stream, head))
        assert frames.number((await peer.next(frames.RST_STREAM)).payload) == frames.CANCEL
        peer.answer((await peer.request())[0], answer(2))
        await peer.next()

    async with played(play) as channel:
        error = await error_of(channel)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (error.details() or "")
        assert (await range_of(channel).ask(ASK, SECONDS)).count == 2


@pytest.mark.parametrize(("code", "unsent"), [(frames.REFUSED_STREAM, True), (frames.CANCEL, False), (2, False)])
async def test_a_call_that_is_broken_off_was_not_carried_out_only_if_the_peer_says_so(code: int, unsent: bool) -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        peer.send(frames.reset((await peer.request())[0], code))
        await peer.next()

    async with played(play) as channel:
        error = await error_of(channel)
        assert (error.code(), error.unsent) == (grpc.StatusCode.UNAVAILABLE, unsent)


async def test_what_a_peer_that_goes_did_not_take_up_is_told_apart() -> None:
    """The first is answered still, the second was not taken up, and the third goes over a new connection."""
    connections = 0
    gone = asyncio.Event()

    async def play(peer: Peer) -> None:
        nonlocal connections
        number = connections = connections + 1
        await peer.greet()
        first, _ = await peer.request()
        if number == 1:
            await peer.request()
            peer.send(frames.frame(frames.GOAWAY, 0, 0, first.to_bytes(4, "big") + bytes(4)))
            await gone.wait()
        peer.answer(first, answer(number))
        await peer.next()

    async with played(play) as channel:
        one, two = (asyncio.ensure_future(range_of(channel).ask(ASK, SECONDS)) for _ in range(2))
        with pytest.raises(CallError) as caught:
            await two
        assert caught.value.unsent
        assert (await range_of(channel).ask(ASK, SECONDS)).count == 2
        gone.set()
        assert (await one).count == 1


async def test_of_a_connection_that_breaks_nothing_is_known() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        await peer.request()
        peer.writer.transport.abort()

    async with played(play) as channel:
        error = await error_of(channel)
        assert (error.code(), error.unsent) == (grpc.StatusCode.UNAVAILABLE, False)


async def test_what_never_left_is_known_to_have_never_left() -> None:
    channel = Channel(Address("127.0.0.1", free_port()), None, LIMITS)
    try:
        assert channel.usable is None
        error = await error_of(channel, 0.2)
        assert (error.code(), error.unsent) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
        waiting = asyncio.ensure_future(error_of(channel))
        await asyncio.sleep(0)
    finally:
        await channel.close()
    assert (await waiting).unsent


async def test_a_member_that_starts_late_is_found() -> None:
    ready = asyncio.Event()

    async def play(peer: Peer) -> None:
        if not ready.is_set():
            return
        await peer.greet()
        peer.answer((await peer.request())[0], answer(3))
        await peer.next()

    async with played(play) as channel:
        waiting = asyncio.ensure_future(range_of(channel).ask(ASK, SECONDS))
        assert (await error_of(channel, 0.3)).unsent
        ready.set()
        assert (await waiting).count == 3


BROKEN = {
    "a frame that is too large": frames.frame(frames.DATA, 0, 1, bytes(frames.DEFAULT_FRAME_BYTES + 1)),
    "headers that do not end": frames.frame(frames.HEADERS, 0, 1, HEAD) + frames.frame(frames.CONTINUATION, 0, 1, bytes(16_000)) * 5,
    "headers between others": frames.frame(frames.HEADERS, 0, 1, HEAD) + frames.frame(frames.PING, 0, 0, bytes(8)),
    "headers that lean on others": frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xbe"),
    "a compressed message": frames.frame(frames.DATA, 0, 1, b"\x01\0\0\0\x01a"),
    "more padding than there is": frames.frame(frames.DATA, frames.PADDED, 1, b"\x09abc"),
    "a push": frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)),
    "a window that is too large": frames.window_update(0, frames.LIMIT),
    "settings of a wrong length": frames.frame(frames.SETTINGS, 0, 0, bytes(5)),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_peer_that_breaks_the_protocol_is_left(name: str) -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        await peer.request()
        peer.send(BROKEN[name])
        await peer.next()

    async with played(play) as channel:
        error = await error_of(channel)
        assert (error.code(), error.unsent) == (grpc.StatusCode.UNAVAILABLE, False)
        assert "broke the protocol" in (error.details() or "")


async def test_a_peer_that_is_no_etcd_is_told() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        stream, _ = await peer.request()
        # :status 404, without a body.
        peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, b"\x8d"))
        await peer.next()

    async with played(play) as channel:
        assert "HTTP status 404" in ((await error_of(channel)).details() or "")


async def test_errors_of_etcd_keep_their_code_and_their_words() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        stream, _ = await peer.request()
        trailers = b"\x00\x0bgrpc-status\x0214" + b"\x00\x0cgrpc-message\x12no%20leader%3A%20x"
        peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, HEAD + trailers))
        await peer.next()

    async with played(play) as channel:
        error = await error_of(channel)
        assert (error.code(), error.details(), error.unsent) == (grpc.StatusCode.UNAVAILABLE, "no leader: x", False)


async def test_one_that_is_not_answered_ends_in_time_and_another_goes_on() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        silent, _ = await peer.request()
        other, _ = await peer.request()
        found = await peer.next(frames.RST_STREAM)
        assert found.stream == silent
        peer.answer(silent, answer(1))
        peer.answer(other, answer(2))
        await peer.next()

    async with played(play) as channel:
        silent, other = asyncio.ensure_future(range_of(channel).ask(ASK, 0.2)), asyncio.ensure_future(range_of(channel).ask(ASK, SECONDS))
        with pytest.raises(CallError) as caught:
            await silent
        assert (caught.value.code(), caught.value.unsent) == (grpc.StatusCode.DEADLINE_EXCEEDED, False)
        assert (await other).count == 2


async def test_who_stops_waiting_tells_the_peer() -> None:
    told = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.greet()
        stream, _ = await peer.request()
        asking.cancel()
        assert (await peer.next(frames.RST_STREAM)).stream == stream
        told.set()
        await peer.next()

    async with played(play) as channel:
        asking = asyncio.ensure_future(range_of(channel).ask(ASK, SECONDS))
        await told.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_silent_peer_that_owes_an_answer_is_asked_and_then_left() -> None:
    pings = 0

    async def play(peer: Peer) -> None:
        nonlocal pings
        await peer.greet()
        await peer.request()
        while True:
            found = await peer.next(frames.PING)
            pings += 1
            if pings < 3:
                peer.send(frames.frame(frames.PING, frames.ACK, 0, found.payload))

    async with played(play, Limits(1 << 20, 0.05, 0.1)) as channel:
        error = await error_of(channel)
        assert error.code() is grpc.StatusCode.UNAVAILABLE and "did not answer within" in (error.details() or "")
    assert pings == 3


async def test_a_stream_that_is_not_read_is_not_granted_more() -> None:
    """What waits unread is bounded; once it is read the peer may go on, and questions are answered all the while."""
    piece, reading = b"x" * 10_000, asyncio.Event()
    most = 2 * STREAM_WINDOW_BYTES // len(piece)
    told: list[int] = []

    async def play(peer: Peer) -> None:
        await peer.greet()
        stream, _ = await peer.request()
        peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, HEAD))
        window, sent = STREAM_WINDOW_BYTES, 0
        while sent < 3 * most:
            while window >= len(piece) + frames.MESSAGE_HEAD and sent < 3 * most:
                peer.send(frames.frame(frames.DATA, 0, stream, frames.message(piece)))
                window, sent = window - len(piece) - frames.MESSAGE_HEAD, sent + 1
            if window < len(piece) + frames.MESSAGE_HEAD:
                found = await peer.next(frames.WINDOW_UPDATE, frames.HEADERS)
                if found.kind == frames.HEADERS:
                    await peer.next(frames.DATA)
                    told.append(sent)
                    peer.answer(found.stream, answer(1))
                    reading.set()
                elif found.stream == stream:
                    window += frames.number(found.payload)
        peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, WELL))
        await peer.next()

    async with played(play) as channel:
        stream = channel.stream("/watch", ASK, ())
        await stream.open(SECONDS)
        assert await anext(stream) == piece
        await asyncio.sleep(0.2)
        assert (await range_of(channel).ask(ASK, SECONDS)).count == 1
        await reading.wait()
        seen = 1
        with pytest.raises(CallError, match="the stream ended"):
            async for _ in stream:
                seen += 1
    assert seen == 3 * most and told[0] <= most + 1


async def test_a_stream_that_is_given_up_ends_for_who_waits() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        stream, _ = await peer.request()
        assert (await peer.next(frames.RST_STREAM)).stream == stream
        await peer.next()

    async with played(play) as channel:
        stream = channel.stream("/watch", ASK, ())
        await stream.open(SECONDS)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        stream.cancel()
        with pytest.raises(CallError) as caught:
            await waiting
        assert caught.value.code() is grpc.StatusCode.CANCELLED


async def test_as_many_calls_at_once_as_the_peer_takes() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet({frames.MAX_CONCURRENT_STREAMS: 2})
        asked = [await peer.request() for _ in range(2)]
        for number in range(5):
            peer.answer(asked.pop(0)[0], answer(number))
            if number < 3:
                asked.append(await peer.request())
        await peer.next()

    async with played(play) as channel:
        # The settings are known once the first is answered, or before.
        async with asyncio.timeout(SECONDS):
            while channel.usable is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        found = await asyncio.gather(*(range_of(channel).ask(ASK, SECONDS) for _ in range(5)))
    assert sorted(one.count for one in found) == list(range(5))


async def test_with_grpcs_own_server() -> None:
    """Both ways, from nothing to more than its window, answers as large as they may be, and streams."""

    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def repeat(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(5):
            yield request

    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo), "Repeat": grpc.unary_stream_rpc_method_handler(repeat)}
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = Channel(Address("127.0.0.1", port), None, LIMITS)
    try:
        question = channel.question("/x/Echo", rpc.RangeRequest)
        sizes = [0, 1, 100, 16_384, 65_535, 70_000, 900_000]
        requests = [rpc.RangeRequest(key=bytes(size)) for size in sizes for _ in range(3)]
        assert await asyncio.gather(*(question.ask(request, SECONDS) for request in requests)) == requests
        with pytest.raises(CallError, match="larger than max"):
            await question.ask(rpc.RangeRequest(key=bytes(LIMITS.message_bytes)), SECONDS)
        stream = channel.stream("/x/Repeat", requests[-1], ())
        await stream.open(SECONDS)
        assert [await anext(stream) for _ in range(5)] == [requests[-1].SerializeToString()] * 5
        stream.cancel()
        with pytest.raises(CallError) as caught:
            await channel.question("/x/Nothing", rpc.RangeRequest).ask(requests[0], SECONDS)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        await channel.close()
        await server.stop(0)
