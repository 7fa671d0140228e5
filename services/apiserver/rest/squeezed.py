"""The end of a list, compressed once for all who ask for it.

Go's clients ask for gzip unless they are told otherwise, and of a list only the head is each answer's own: it tells the revision. So the
items are compressed once, as a stream of DEFLATE that refers to nothing before it, and what comes before is put there uncompressed
(RFC 1951, 3.2.4). The whole is one ordinary member of gzip (RFC 1952), whose checksum follows from those of both parts.
"""

from __future__ import annotations

import zlib

# The largest window without a header of its own; the level of all answers, as in Kubernetes: more costs more than it saves.
RAW_WINDOW, LEVEL = -15, 1
# A member of gzip: DEFLATE, no name, no time, compressed in haste, by an unknown system.
HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
# As many bytes as an uncompressed block may have.
BLOCK_BYTES = 65535
# The polynomial of the checksum, its lowest power in the highest bit; 1, and x.
POLYNOMIAL, ONE, X = 0xEDB88320, 1 << 31, 1 << 30


class Squeezed:
    """Bytes that end an answer."""

    __slots__ = ("_checksum", "_deflated", "_length", "_shift")

    def __init__(self, data: bytes) -> None:
        """Takes about as long as 8 ms a megabyte."""
        squeeze = zlib.compressobj(LEVEL, wbits=RAW_WINDOW)
        self._deflated = squeeze.compress(data) + squeeze.flush()
        self._checksum, self._length, self._shift = zlib.crc32(data), len(data), _shift(len(data))

    def behind(self, before: bytes) -> bytes:
        """The gzipped answer that ``before`` begins."""
        blocks = [b"\x00%b%b%b" % _stored(before[first : first + BLOCK_BYTES]) for first in range(0, len(before), BLOCK_BYTES)]
        checksum = _product(self._shift, zlib.crc32(before)) ^ self._checksum
        end = checksum.to_bytes(4, "little") + ((len(before) + self._length) & 0xFFFFFFFF).to_bytes(4, "little")
        return b"".join((HEADER, *blocks, self._deflated, end))


def _stored(block: bytes) -> tuple[bytes, bytes, bytes]:
    return len(block).to_bytes(2, "little"), (len(block) ^ 0xFFFF).to_bytes(2, "little"), block


def _shift(count: int) -> int:
    """What a checksum is multiplied by for so many bytes that follow: x to the eighth for each."""
    found, square, left = ONE, X, 8 * count
    while left:
        if left & 1:
            found = _product(square, found)
        square = _product(square, square)
        left >>= 1
    return found


def _product(first: int, second: int) -> int:
    """Of two polynomials over GF(2), modulo the one of the checksum."""
    found, mask = 0, ONE
    while first:
        if first & mask:
            found ^= second
            first ^= mask
        mask >>= 1
        second = second >> 1 ^ POLYNOMIAL if second & 1 else second >> 1
    return found
