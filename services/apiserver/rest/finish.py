"""What is done to a whole answer before it leaves: indented for people, compressed for who asks for it."""

from __future__ import annotations

import zlib
from typing import Any

import orjson

from knarr.machinery.errors import StatusError
from knarr.service.accepting import accepts_gzip
from services.apiserver.aside import in_turn, in_turn_if_large
from services.apiserver.entries import Entries
from services.apiserver.rest import negotiation
from services.apiserver.rest.request import GZIP_WINDOW, Request
from services.apiserver.rest.response import NO_STORE, Response
from services.apiserver.rest.squeezed import LEVEL, Squeezed

# As in Kubernetes: what is smaller is sent sooner than compressed.
GZIP_BYTES = 128 * 1024
GZIP_HEADERS = ((b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding"))
# What is larger is not read by a person, and would hold the interpreter for long.
PRETTY_BYTES = 1024 * 1024
# Programs by which a person reads answers.
READERS = (b"curl", b"Wget", b"Mozilla/5.0")
# How Go writes a truth.
TRUE = ("1", "t", "T", "true", "TRUE", "True")


def is_finished(request: Request, answer: Response) -> bool:
    """Whether an answer leaves as it is: most do, and one that clients may keep is as its ETag names it."""
    if answer.caching is not NO_STORE:
        return True
    return answer.size_bytes <= GZIP_BYTES and (answer.content_type != negotiation.JSON or not _is_read(request))


async def finished(request: Request, answer: Response) -> Response:
    """The answer as it leaves, of one that is not finished."""
    headers = request.headers
    if answer.content_type == negotiation.JSON and answer.size_bytes <= PRETTY_BYTES and _is_read(request):
        answer.join()
        answer.body = await in_turn_if_large(len(answer.body), indented, answer.body)
    if answer.size_bytes > GZIP_BYTES and accepts_gzip(headers.get(b"accept-encoding", b"")):
        if answer.items is not None:
            squeezed = answer.items.squeezed or await in_turn(squeezed_items, answer.items)
            answer.before, answer.body, answer.items = b"", squeezed.behind(answer.before), None
        else:
            answer.join()
            answer.body = await in_turn(compressed, answer.body)
        answer.headers = [*answer.headers, *GZIP_HEADERS]
    return answer


def _is_read(request: Request) -> bool:
    """Whether a person will read the answer: ``pretty`` says so, or the program that asks."""
    if b"pretty" in request.scope["query_string"]:
        try:
            pretty = request.query.text("pretty")
        except StatusError:  # it is refused for its query already
            return False
        if pretty:
            return pretty in TRUE
    return request.headers.get(b"user-agent", b"").startswith(READERS)


def indented(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2) + b"\n"


def gzip() -> Any:
    """A compressor, to be fed and flushed."""
    return zlib.compressobj(LEVEL, wbits=GZIP_WINDOW)


def squeezed_items(items: Entries) -> Squeezed:
    """The end of a list, of which others may have asked meanwhile."""
    if items.squeezed is None:
        assert items.joined is not None
        items.squeezed = Squeezed(items.joined)
    found: Squeezed = items.squeezed
    return found


def compressed(body: bytes) -> bytes:
    squeeze = gzip()
    whole: bytes = squeeze.compress(body) + squeeze.flush()
    return whole
