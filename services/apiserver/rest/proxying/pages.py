"""Links in pages that are passed on: those to the page's own host lead through this server, as Kubernetes rewrites them.

A page is held until it is whole, which bounds its size; a larger one is passed on as it is. What looks like a tag in a comment or a script
is taken for one.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from services.apiserver.aside import aside
from services.apiserver.exchange.reply import Head
from services.apiserver.rest.response import Headers

PAGE_BYTES = 1024 * 1024
# The attributes that hold a link, by the tag that has them.
LINKS = {
    tag: frozenset(names.split())
    for tag, names in {
        "a": "href", "applet": "codebase", "area": "href", "audio": "src", "base": "href", "blockquote": "cite", "body": "background",
        "button": "formaction", "command": "icon", "del": "cite", "embed": "src", "form": "action", "frame": "longdesc src",
        "head": "profile", "html": "manifest", "iframe": "longdesc src", "img": "longdesc src usemap", "input": "src usemap formaction",
        "ins": "cite", "link": "href", "object": "classid codebase data usemap", "q": "cite", "script": "src", "source": "src",
        "video": "poster src",
    }.items()
}  # fmt: skip
# Both read each letter a bounded number of times: outside quotes a tag ends at the next one.
_TAG = re.compile(r"""<([a-zA-Z]+)(\s(?:[^<>"']|"[^"]*"|'[^']*')*)>""")
_ATTRIBUTE = re.compile(r"""(\s)([a-zA-Z]+)(\s*=\s*)(?:"([^"]*)"|'([^']*)'|([^\s"'<>]+))""")


def is_page(head: Head) -> bool:
    """Whether an answer is HTML whose bytes can be read here."""
    kind = (head.first(b"content-type") or b"").partition(b";")[0].strip().lower()
    return kind == b"text/html" and head.first(b"content-encoding") in (None, b"", b"gzip")


async def page(headers: Headers, body: AsyncIterator[bytes], link: Callable[[str], str]) -> tuple[Headers, AsyncIterator[bytes]]:
    """An answer with its links as ``link`` says; one that is too large as it was."""
    pieces: list[bytes] = []
    size = 0
    async for piece in body:
        pieces.append(piece)
        size += len(piece)
        if size > PAGE_BYTES:
            return headers, _chained(pieces, body)
    data = _unpacked(b"".join(pieces), headers)
    if data is None:
        return headers, _chained(pieces, body)
    changed = await aside(len(data), relinked, data, link)
    kept = [(name, value) for name, value in headers if name not in (b"content-length", b"content-encoding")]
    return [*kept, (b"content-length", b"%d" % len(changed))], _chained([changed], body)


def relinked(data: bytes, link: Callable[[str], str]) -> bytes:
    """A page in any encoding that has ASCII's letters where ASCII has them."""
    return _TAG.sub(lambda tag: _tag(tag, link), data.decode("latin-1")).encode("latin-1", "xmlcharrefreplace")


def _tag(tag: re.Match[str], link: Callable[[str], str]) -> str:
    names = LINKS.get(tag[1].lower())
    if names is None:
        return tag[0]
    return f"<{tag[1]}{_ATTRIBUTE.sub(lambda found: _attribute(found, names, link), tag[2])}>"


def _attribute(found: re.Match[str], names: frozenset[str], link: Callable[[str], str]) -> str:
    if found[2].lower() not in names:
        return found[0]
    url = html.unescape(next(value for value in (found[4], found[5], found[6]) if value is not None))
    there = link(url)
    return found[0] if there == url else f'{found[1]}{found[2]}{found[3]}"{html.escape(there)}"'


def _unpacked(data: bytes, headers: Headers) -> bytes | None:
    """None for what cannot be unpacked, or unpacks to too much."""
    if (b"content-encoding", b"gzip") not in headers or not data:
        return data
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = unpacker.decompress(data, PAGE_BYTES)
    except zlib.error:
        return None
    return found if unpacker.eof else None


async def _chained(pieces: list[bytes], rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece
    async for piece in rest:
        yield piece
