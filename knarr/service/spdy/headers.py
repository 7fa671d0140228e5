"""Header blocks of SPDY/3: names and values, compressed in one stream for each direction of a connection.

Draft 3.1 of the SPDY protocol, section 2.6.10. Values of one name are separated by NUL; names are lower-case.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from knarr.service.spdy.errors import ProtocolViolation

# A block of so many bytes, unpacked, holds more than any client says of a stream; a packed one that unpacks to more is not read on.
BLOCK_BYTES = 64 * 1024
PAIRS = 256

_NUMBER = struct.Struct(">I")
_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
    "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
    "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status"
)
_WORDS = (*_NAMES.split(), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information"
    "204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error"
    "501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    "text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
# What both sides know from the start; its Adler-32, which begins every stream, is e3c6a7c2.
DICTIONARY = b"".join(_NUMBER.pack(len(word)) + word.encode() for word in _WORDS) + _TAIL.encode()


class HeaderPacker:
    """Packs the blocks of one direction."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def pack(self, headers: Mapping[str, str]) -> bytes:
        parts = [_NUMBER.pack(len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                data = text.encode("latin-1")
                parts += _NUMBER.pack(len(data)), data
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class HeaderUnpacker:
    """Unpacks the blocks of one direction, in their order."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def unpack(self, block: bytes) -> dict[str, str]:
        """Raises ProtocolViolation for what is no block, or too large a one: the stream of blocks cannot be followed any further."""
        try:
            data = self._zlib.decompress(block, BLOCK_BYTES)
        except zlib.error as error:
            raise ProtocolViolation(f"a header block cannot be unpacked: {error}") from error
        if len(data) >= BLOCK_BYTES or self._zlib.unconsumed_tail:
            raise ProtocolViolation(f"a header block unpacks to more than {BLOCK_BYTES} bytes")
        return _pairs(data)


def _pairs(data: bytes) -> dict[str, str]:
    try:
        (count,) = _NUMBER.unpack_from(data)
        if count > PAIRS:
            raise ProtocolViolation(f"a header block has more than {PAIRS} headers")
        headers, position = {}, _NUMBER.size
        for _ in range(count):
            name, position = _text(data, position)
            headers[name.lower()], position = _text(data, position)
    except struct.error as error:
        raise ProtocolViolation("a header block ends early") from error
    return headers


def _text(data: bytes, position: int) -> tuple[str, int]:
    (length,) = _NUMBER.unpack_from(data, position)
    begin, end = position + _NUMBER.size, position + _NUMBER.size + length
    if end > len(data):
        raise ProtocolViolation("a header block ends early")
    return data[begin:end].decode("latin-1"), end
