"""One HTTP request that an RPC asks to be passed on, and its answer as messages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

import grpc

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.machinery.errors import StatusError, bad_request, status_error
from knarr.service.tasks import cancel
from services.apiserver.exchange.line import Line, open_line
from services.apiserver.exchange.passing import Place, request_headers, response_headers
from services.apiserver.exchange.reply import BadReply, Head, Headers, Reply
from services.apiserver.ways import Connect

# The longest that is waited for an answer to begin, as by REST.
ANSWER_SECONDS = 300.0
MAX_HEADERS = 1024
_METHOD = re.compile(r"[A-Z]{1,16}")
_PATH = re.compile(r"/[!-~]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
# Bytes of a header that end it, or that nobody sends.
_BROKEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class PassedCall:
    """Raises BadRequest for a start that is no request."""

    def __init__(self, start: face.ProxyStart, peer: str) -> None:
        """``peer`` is the caller as gRPC names it: ``ipv4:192.0.2.1:4711``."""
        self.method = start.method or "GET"
        target = start.path or "/"
        if not _METHOD.fullmatch(self.method) or not _PATH.fullmatch(target):
            raise bad_request("the method of a request is in capital letters, its path begins with a slash and has no blanks")
        if len(start.headers) > MAX_HEADERS:
            raise bad_request(f"a request has at most {MAX_HEADERS} headers")
        self.path, _, self._query = target.partition("?")
        self._target, self._peer = target, peer
        self._headers: Headers = [_header(header) for header in start.headers]

    async def answers(
        self, connect: Connect, scheme: str, host: str, body: AsyncIterator[bytes]
    ) -> AsyncGenerator[face.ProxyResponse, None]:
        """The head, then the body as it comes. Raises ServiceUnavailable where there is none, or it breaks off."""
        line: Line | None = None
        feeder: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                line = await open_line(connect, scheme)
                reply = Reply(line, self.method)
                await line.write(self._head(host))
                feeder = asyncio.create_task(self._feed(line, body), name="passed on by RPC")
                head = await reply.head()
            yield face.ProxyResponse(head=_told(head))
            async for piece in reply.body() if head.status != 101 else _all(line, reply.rest):
                yield face.ProxyResponse(body=piece)
        except TimeoutError as error:
            raise _unreachable(f"no answer within {ANSWER_SECONDS:.0f} seconds") from error
        except StatusError as error:
            raise _unreachable(error.status.message) from error
        except (BadReply, OSError) as error:
            raise _unreachable(str(error)) from error
        finally:
            if feeder is not None:
                await cancel([feeder])
            if line is not None:
                await line.close()

    def _head(self, host: str) -> bytes:
        given = dict(self._headers)
        headers = request_headers(self._headers, _address(self._peer), Place("", self.path, host, whole=True), upgrade=b"upgrade" in given)
        if b"transfer-encoding" in given:
            headers.append((b"transfer-encoding", b"chunked"))
        elif b"content-length" in given:
            headers.append((b"content-length", given[b"content-length"]))
        line = f"{self.method} {self._target} HTTP/1.1".encode("ascii")
        return b"\r\n".join([line, *(name + b": " + value for name, value in headers), b"", b""])

    async def _feed(self, line: Line, body: AsyncIterator[bytes]) -> None:
        """Whoever answers before it has read everything has answered."""
        chunked = any(name == b"transfer-encoding" for name, _ in self._headers)
        with suppress(OSError, StatusError, grpc.RpcError):
            async for piece in body:
                if piece:
                    await line.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                await line.write(b"0\r\n\r\n")


async def _all(line: Line, first: bytes) -> AsyncIterator[bytes]:
    data = first or await line.read()
    while data:
        yield data
        data = await line.read()


def _header(header: face.HttpHeader) -> tuple[bytes, bytes]:
    name = header.name.lower()
    if not _NAME.fullmatch(name) or _BROKEN.search(header.value):
        raise bad_request(f"a header {header.name[:100]!r} cannot be sent")
    return name.encode("ascii"), header.value.encode()


def _told(head: Head) -> face.ProxyHead:
    """As it came, but for what speaks of the connection; an answer that changes the protocol says to which."""
    headers = response_headers(head.headers, Place("", "/", "", whole=True), "")
    if head.status == 101:
        headers += [(name, value) for name, value in head.headers if name == b"upgrade"]
    told = face.ProxyHead(status=head.status)
    for name, value in headers:
        told.headers.add(name=name.decode("latin-1"), value=value.decode("latin-1"))
    return told


def _address(peer: str) -> str:
    _, _, rest = peer.partition(":")
    return rest.rpartition(":")[0].strip("[]")


def _unreachable(words: str) -> StatusError:
    return status_error("ServiceUnavailable", f"error trying to reach service: {words}")
