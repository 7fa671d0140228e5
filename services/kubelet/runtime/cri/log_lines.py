"""The contract's log format: a line for each piece of what a container wrote. Pure.

``2026-01-02T15:04:05.000000000Z stdout F words``: a time, the stream, F for the end of a line or P for a piece of a longer one (or of one
that the container never ended), and the bytes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from services.kubelet.runtime.logs.entries import Entry, TailSearch
from services.kubelet.runtime.logs.files import ReadAt
from services.kubelet.runtime.port import STDERR, STDOUT

STREAMS = {b"stdout": STDOUT, b"stderr": STDERR}
STAMP_BYTES = len("2026-01-02T15:04:05.000000000Z")
DIGITS = 9
# Seconds, what is below them, and the zone.
STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{0,9})\d*)?(Z|z|[+-]\d\d:\d\d)")
FULL = b"F"


def entry_of(line: bytes) -> Entry | None:
    """None for a line that is not of the format: half of one, where a machine lost its power."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in STREAMS:
        return None
    stamp = normal_stamp(parts[0])
    # More tags than one are separated by colons, and others may come.
    return Entry(STREAMS[parts[1]], stamp, parts[3], parts[2].split(b":")[0] == FULL) if stamp else None


def is_whole(line: bytes) -> bool:
    """Whether a line of the file ends a line of the container; cheaper than ``entry_of``."""
    parts = line.split(b" ", 3)
    return len(parts) == 4 and parts[2][:1] == FULL


def normal_stamp(stamp: bytes) -> bytes:
    """RFC 3339 with up to nine digits, of any zone, as UTC with nine; empty for what is none."""
    if len(stamp) == STAMP_BYTES and stamp.endswith(b"Z"):
        return stamp
    found = STAMP.fullmatch(stamp.decode("ascii", "replace"))
    if found is None:
        return b""
    seconds, digits, zone = found.groups(default="")
    try:
        moment = datetime.fromisoformat(seconds + ("+00:00" if zone in "Zz" else zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return b""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{digits.ljust(DIGITS, '0')}Z".encode()


def tail_start(read: ReadAt, size: int, search: TailSearch, block: int = 1 << 16) -> int | None:
    """The place in a file of ``size`` bytes where the tail begins; None where it begins before the file. A last line without its end
    is no line yet."""
    end, carry = size, b""
    while end > 0:
        begin = max(0, end - block)
        data = read(begin, end - begin) + carry
        lines = data.split(b"\n")
        place = begin + len(data)
        # What comes behind the last newline was seen already, or is no line yet; the first may begin before this block.
        place -= len(lines.pop())
        for line in reversed(lines[1:] if begin else lines):
            if line and search.ends_before(whole=is_whole(line)):
                return place
            place -= len(line) + 1
        end, carry = begin, (lines[0] + b"\n" if lines and begin else b"")
        if not lines:
            carry = data
    return None
