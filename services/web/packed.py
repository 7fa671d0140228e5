"""Objects as a recorder keeps them: small, without managedFields, of which is left who has written what when."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

# In which kubectl keeps what was applied: of Secrets, their data.
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
WROTE_BYTES = 4
# Sets of writers that are shared; a cluster has some dozens.
MOST_WRITERS = 1000


class ObjectKey(NamedTuple):
    """``resource`` is the plural by which the page calls it."""

    resource: str
    namespace: str
    name: str


class Writer(NamedTuple):
    """Who has written fields of an object, as an entry of managedFields names him."""

    manager: str
    operation: str
    subresource: str


@dataclass(frozen=True, slots=True)
class Held:
    """An object as it is; ``text`` is its JSON without managedFields."""

    revision: int
    text: bytes
    # As managedFields have them; objects with the same ones share the tuple.
    writers: tuple[Writer, ...]
    # Of each, a checksum of when it wrote last, in whole seconds, and which fields: whole they would take more than the object.
    wrote: bytes


@dataclass(frozen=True, slots=True)
class Packed:
    """An object on its way into the recorder: what is kept of it, and when each of its writers wrote last."""

    key: ObjectKey
    held: Held
    times: tuple[str, ...]


class Packer:
    """Packs the objects of one recorder, which share what they have in common."""

    def __init__(self) -> None:
        self._writers: dict[tuple[Writer, ...], tuple[Writer, ...]] = {}

    def pack(self, resource: str, obj: dict[str, Any]) -> Packed:
        """What is kept of an object, which is not to be used any more: a tenth of what it is when parsed."""
        entries = obj["metadata"].get("managedFields") or ()
        times = tuple(entry.get("time", "") for entry in entries)
        wrote = b"".join(
            zlib.crc32(orjson.dumps((time, entry.get("fieldsV1")))).to_bytes(WROTE_BYTES, "little")
            for time, entry in zip(times, entries, strict=True)
        )
        writers = tuple(Writer(entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", "")) for entry in entries)
        if len(self._writers) >= MOST_WRITERS:
            self._writers.clear()
        shared = self._writers.setdefault(writers, writers)
        # What orjson gives lies in a block of 8 KiB or more, however short it is: a copy takes its own size.
        text = bytes(memoryview(orjson.dumps(_bare(obj))))
        return Packed(key_of(resource, obj), Held(revision_of(obj), text, shared, wrote), times)


def key_of(resource: str, obj: Mapping[str, Any]) -> ObjectKey:
    metadata = obj["metadata"]
    return ObjectKey(resource, metadata.get("namespace", ""), metadata["name"])


def revision_of(obj: Mapping[str, Any]) -> int:
    return int(obj["metadata"].get("resourceVersion") or 0)


def _bare(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj["metadata"]
    metadata.pop("managedFields", None)
    annotations = metadata.get("annotations")
    if annotations is not None:
        annotations.pop(APPLIED, None)
    return obj


def _wrote(held: Held) -> dict[Writer, bytes]:
    checksums = (held.wrote[start : start + WROTE_BYTES] for start in range(0, len(held.wrote), WROTE_BYTES))
    return dict(zip(held.writers, checksums, strict=True))


def who(before: Held | None, now: Packed) -> str:
    """Who made a change: whose entry is new or another one; empty where nobody's is, as of a binding."""
    earlier = _wrote(before) if before is not None else {}
    times = dict(zip(now.held.writers, now.times, strict=True))
    changed = [writer for writer, wrote in _wrote(now.held).items() if earlier.get(writer) != wrote]
    newest = max(changed, key=lambda writer: times[writer], default=None)
    if newest is None:
        return ""
    return f"{newest.manager} ({newest.operation}{f' {newest.subresource}' if newest.subresource else ''})"
