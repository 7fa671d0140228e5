"""uvicorn's protocols, with the verified client certificate's user in every request's state."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import http11
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState

from knarr.service.client_certificates import of_connection
from knarr.service.presence import has_left
from knarr.service.web.upgraded import UpgradedConnection
from services.apiserver.fairness.paced import Paced
from services.apiserver.fairness.rounds import Rounds
from services.apiserver.rest.authentication import CERTIFICATE_USER
from services.apiserver.rest.crowd import Crowd
from services.apiserver.rest.flow import Flow
from services.apiserver.rest.held import Held
from services.apiserver.rest.request import BODY_SECONDS, CONNECTION, LINGER_SECONDS, HeldConnection

# The key of a server's state under which its ``Crowd`` is.
CROWD = "crowd"
# … and its ``Rounds``, where anybody asks in order.
ROUNDS = "rounds"
# … and in that of a connection, what the crowd knows it by.
ENTERED = "entered"
# What a client may take for the head of a request, and how long for it to come; as Kubernetes bounds them.
HEAD_LIMIT_BYTES = 1024 * 1024
HEAD_SECONDS = 32.0
# Fields of a head: each costs more than its bytes. As many as what is commonly put before an API server lets through, several times over.
MAX_HEADERS = 1024
# Requests that may be sent ahead on a connection, to be answered one after the other; each is kept whole.
MAX_AHEAD = 64
# A larger body is not copied to be joined with its head.
COPY_BYTES = 16 * 1024
# What waits for a client that does not read, before whoever writes to it waits too, where ``entrance`` does not say so before.
UNREAD_BYTES = 16 * 1024
# Of a request whose turn has not come so much is taken from the connection.
KEPT_BYTES = 64 * 1024
# What a client may say behind a request to upgrade before that is answered.
EARLY_BYTES = 64 * 1024
# The head of a request to upgrade is bounded already: a command's arguments are in its first line.
http11.MAX_LINE_LENGTH, http11.MAX_NUM_HEADERS = HEAD_LIMIT_BYTES, MAX_HEADERS
LAST_CHUNK = b"0\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Unbounded(int):
    """What uvicorn counts down by the bytes of a body, where their number is not told: it has room for all, and nothing is missing."""

    def __lt__(self, other: int) -> bool:
        return False

    def __sub__(self, other: int) -> int:
        return self


class TooMuch(Exception):
    """Ends the parsing of what came, and the connection."""


class Protocol(HttpToolsProtocol):
    """ASGI's scope has no peer certificate, so the connection's state carries the user it names, and itself: a ``Connection``.

    A WebSocket takes the state of the connection over when it is upgraded; for every other protocol the application gets the connection.
    """

    # Beside what uvicorn keeps in a dictionary, which would grow by a kilobyte.
    __slots__ = (
        "_arrived",
        "_crowd",
        "_early",
        "_early_begins",
        "_head_bytes",
        "_head_timer",
        "_in_head",
        "_is_admitted",
        "_lost",
        "_rest_timer",
        "_rounds",
        "_running",
        "_stranger",
        "_upgraded",
        "caller",
        "entered",
        "is_ongoing",
    )

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # Otherwise it keeps a log of its own wherever a program writes any.
        self.access_log = False
        # What the crowd knows this connection by: the one below TLS, which has entered before its handshake.
        self.entered: asyncio.Transport | None = None
        # The request that is at work; those that were sent ahead wait for it.
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=UNREAD_BYTES)
        super().connection_made(transport)
        self.flow = Flow(transport)  # type: ignore[assignment]
        self.app_state: dict[str, Any] = {**self.app_state, CONNECTION: self}
        certified = of_connection(transport.get_extra_info("ssl_object"))
        if certified is not None:
            self.app_state[CERTIFICATE_USER] = certified
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        # Who never asks anything is not kept, and makes way for who does.
        self.timeout_keep_alive_task = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)
        self._crowd: Crowd = self.app_state[CROWD]
        self._stranger = True
        # Who asks by this connection, and what has come of a request of his whose turn it is not yet.
        self._rounds: Rounds | None = self.app_state.get(ROUNDS)
        self.caller = ""
        self._arrived: bytearray | None = None
        # Whether the request that begins next has had its turn for that; one that was sent ahead has not.
        self._is_admitted = False
        self.is_ongoing = False
        # What came behind a request to upgrade that is not answered yet; None while there is no such request.
        self._early: bytearray | None = None
        self._early_begins = 0
        self._lost: Callable[[], None] | None = None
        if self.entered is None:
            self.entered = transport
            self._crowd.enter(transport)
        self.app_state[ENTERED] = self.entered

    def abort(self) -> None:
        self.transport.abort()

    def greet(self, caller: str) -> None:
        self.caller = caller
        if self._stranger and self.entered is not None:
            self._stranger = False
            self._crowd.greet(self.entered)

    def drained(self) -> Awaitable[None] | None:
        return self.flow.drain() if self.flow.write_paused else None

    def is_full(self) -> bool:
        return self.flow.write_paused

    def is_gone(self) -> bool:
        return self.transport.is_closing()

    def has_left(self) -> bool:
        current = self.transport.get_protocol()
        if isinstance(current, WebSocketProtocol):
            current.knock()
        return has_left(self.transport)

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        if callback is not None and self.transport.is_closing():
            callback()
        else:
            self._lost = callback

    def hold(self) -> HeldConnection | None:
        cycle = self._running
        if cycle is None or cycle is not self.cycle or cycle.more_body or cycle.response_complete or not cycle.chunked_encoding:
            return None
        if self.transport.is_closing():
            return None
        # uvicorn takes a task that ends without that for one that has failed.
        cycle.response_complete = True
        self.cycle = self._running = Held(cycle.keep_alive)  # type: ignore[assignment]
        if not self._in_head:
            self.scope, self.headers = None, []  # type: ignore[assignment]
        return self

    def write(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def release(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(LAST_CHUNK)
        held = self._running
        assert held is not None
        held.response_complete = True
        if not held.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _await_request(self) -> None:
        """Gives the connection the time that there may be between two requests."""
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _is_between_requests(self) -> bool:
        cycle = self.cycle
        if cycle is not None and (cycle.more_body or not cycle.response_complete):
            return False
        # A connection that was upgraded is the WebSocket's, and may be silent for as long as it likes.
        return not self.transport.is_closing() and self.transport.get_protocol() is self

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if cycle.scope["http_version"] == "1.0":
            # It knows no chunks: an answer without a length ends with its connection.
            cycle.chunked_encoding, cycle.expected_content_length = False, Unbounded()
        self.is_ongoing = False
        paced = app if self._rounds is None else partial(self._paced, self._rounds, app, self._is_admitted)
        # Its name lets who holds up the loop be known by the request; to look for the task later takes as long again as to make it.
        scope = cycle.scope
        task = self.loop.create_task(cycle.run_asgi(paced), name=f"{scope['method']} {scope['path']}")
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._is_admitted = False

    def _paced(self, rounds: Rounds, app: Any, is_admitted: bool, *call: Any) -> Paced[None]:
        return Paced(rounds, self, app(*call), is_admitted=is_admitted)

    def go_on(self) -> None:
        self.is_ongoing = True

    def answer(self, head: bytes, body: bytes) -> bool:
        # ASGI's two messages take longer than most answers are made in, and a small one would leave in two TLS records and system calls.
        cycle = self._running
        if cycle is None or cycle.disconnected or cycle.response_started or not cycle.keep_alive or self.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        if len(body) < COPY_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        """What still comes of a request that was answered already is thrown away, but not for ever."""
        super().on_response_complete()
        if self._early is not None:
            self._refuse_upgrade()
        cycle = self.cycle
        if cycle is not None and cycle.more_body and cycle.response_complete and not self.transport.is_closing():
            self._rest_timer = self.loop.call_later(BODY_SECONDS, self.transport.abort)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
            # It is over with this request, though nothing else of it is asked for.
            self.cycle.more_body = False
            self._await_request()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_AHEAD:
            raise TooMuch(f"more than {MAX_AHEAD} requests are sent ahead of their answers")
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise TooMuch(f"more than {MAX_HEADERS} header fields")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            # TLS reads on until the client has closed its side too.
            return
        if self._early is not None:
            self._keep_early(self._early, data)
            return
        arrived = self._arrived
        if arrived is not None:
            arrived += data
            if len(arrived) > KEPT_BYTES:
                self.flow.pause_reading()
            return
        rounds, cycle = self._rounds, self.cycle
        # What belongs to a request that is under way is not held up.
        begins = not self._in_head and (cycle is None or (cycle.response_complete and not cycle.more_body))
        if begins and rounds is not None and not rounds.admits(self.caller):
            self._arrived = bytearray(data)
            rounds.keep(self.caller, self)
        else:
            self._is_admitted = begins
            self._take(data)

    @property
    def is_over(self) -> bool:
        return self._arrived is None or self.transport.is_closing()

    def begin(self) -> None:
        arrived, self._arrived = self._arrived, None
        assert arrived is not None
        self.flow.resume_reading()
        self._is_admitted = True
        self._take(bytes(arrived))

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        if self._early is not None:
            self._keep_early(self._early, data[self._early_begins :])
        if self._in_head or self._head_timer is not None:
            self._bound_head(len(data))
        elif self.timeout_keep_alive_task is None and self._is_between_requests():
            # Blank lines before a request are no request.
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        self._arrived = None
        if self.entered is not None:
            self._crowd.leave(self.entered)
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        # uvicorn leaves the timer, and all that hangs on it, when the connection broke.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()
        # What refers to itself would lie about until the collector comes, with the last request's head.
        self.app_state, self.headers = {}, []
        self.cycle = self.scope = self._running = None  # type: ignore[assignment]

    def _bound_head(self, received_bytes: int) -> None:
        """Follows a head that comes in pieces; most come in one and cost nothing here."""
        if not self._in_head or self.transport.is_closing():
            self._forget_head()
            return
        self._head_bytes += received_bytes
        self._crowd.head_bytes += received_bytes
        if self._head_bytes > HEAD_LIMIT_BYTES or self._crowd.is_over_head(self._head_bytes):
            self._refuse(HEAD_TOO_LARGE)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _refuse(self, answer: bytes) -> None:
        """The last answer of a connection, whose client may send on: its end is waited for, but not for long."""
        self.transport.write(answer)
        self.transport.close()
        self._forget_head()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """uvicorn tells everything so that the parser does not like."""
        self._refuse(HEAD_TOO_LARGE if len(self.headers or ()) >= MAX_HEADERS else BAD_REQUEST)

    def _forget_head(self) -> None:
        self._crowd.head_bytes -= self._head_bytes
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _should_upgrade(self) -> bool:
        """What is passed on is passed on as it is, WebSockets too."""
        return super()._should_upgrade() and not self.app.passes_on(self.url.partition(b"?")[0].decode("latin-1"))

    def _unsupported_upgrade_warning(self) -> None:
        """Other upgrades are the application's, which answers them like plain requests or takes the connection."""
        found = sys.exception()
        if self.transport.is_closing() or found is None or self.cycle.response_complete:
            return
        self._early, self._early_begins = bytearray(), found.args[0]

    def _keep_early(self, early: bytearray, data: bytes) -> None:
        early += data
        if len(early) > EARLY_BYTES:
            self.flow.pause_reading()

    def upgrade(self, head: bytes) -> UpgradedConnection | None:
        if self._early is None or self.cycle.response_started or self.transport.is_closing():
            return None
        early, self._early = bytes(self._early), None
        self.cycle.response_started = self.cycle.response_complete = True
        self.flow.resume_reading()
        self._forget_head()
        upgraded = UpgradedConnection(self.transport, early, self._upgraded_lost)
        self.connections.discard(self)
        self.connections.add(upgraded)  # type: ignore[arg-type]
        self._upgraded = upgraded
        self.transport.write(head)
        self.transport.set_protocol(upgraded)
        return upgraded

    def _upgraded_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self._upgraded)
        self.connection_lost(exc)

    def _refuse_upgrade(self) -> None:
        """The answer was a plain one: what follows is the next request."""
        early, self._early = self._early, None
        self.flow.resume_reading()
        if early:
            self.loop.call_soon(self.data_received, bytes(early))


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """An upgrade that was answered with an ordinary response is over; uvicorn takes it for one that was forgotten.

    ``websocket.close`` may bring ``last``, bytes: a message that leaves in one piece with the close.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # The application chooses; the library would refuse names that are no tokens, and ``SPDY/3.1+portforward.k8s.io`` is none.
        self.conn.process_subprotocol = _no_subprotocol  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            # uvicorn asks for errors behind the handshake alone, and the client would wait for ever.
            self.transport.write(BAD_REQUEST)
            self.transport.close()

    def knock(self) -> None:
        """Pings a client that is held up. One that has ended meanwhile, with something that was not taken, is not known to the kernel to
        have closed: but it answers whatever it is sent with a reset."""
        if self.read_paused and self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.conn.send_ping(b"")
            self.transport.write(b"".join(self.conn.data_to_send()))

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close" and "last" in message:
            self._keep_for_close(message["last"])
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    def _keep_for_close(self, last: bytes) -> None:
        # Kept by the library until the close frame is written. A client that leaves when it has the last word, while a thread of its own
        # waits for more (httpx, and so lightkube), lets that thread read what the next connection with the same number is told.
        with suppress(InvalidState):
            self.conn.send_binary(last)

    def shutdown(self) -> None:
        """One that is closing already is not told again, and one that was dropped just now cannot be told."""
        if self.transport.is_closing():
            return
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.app_state[CROWD].leave(self.app_state[ENTERED])
        super().connection_lost(exc)


def _no_subprotocol(headers: Headers) -> None:
    return None
