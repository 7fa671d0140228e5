"""Objects, lists and watch events as bytes, in the form that the client wants.

The plain forms join bytes that the cache holds ready made; nothing is decoded for them.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import orjson
import yaml
from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.envelope import resource_version, varint, wrap, wrapping
from knarr.machinery.resources import Version
from knarr.machinery.type_names import names_of
from services.apiserver.entries import Block, Entries
from services.apiserver.entry import Entry
from services.apiserver.rest import negotiation
from services.apiserver.results import Event, Page

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
# More than this would take seconds to be written as YAML, on the one thread that all large answers share.
YAML_BYTES = 1024 * 1024


class Representation(abc.ABC):
    """How one resource is written in one version for one request. What is given to it is as it is stored."""

    content_type = negotiation.JSON
    watch_content_type = negotiation.JSON
    # Whether all who want a version in this form have one representation of it.
    is_shared: ClassVar[bool] = False

    def __init__(self, version: Version) -> None:
        self.version = version
        # What was told last, and its frames, of a form that is every watcher's of the version.
        self.told: tuple[Sequence[Event], bytes] = (), b""

    @abc.abstractmethod
    def entry(self, entry: Entry) -> bytes:
        """The body that answers with one stored object."""

    @abc.abstractmethod
    def message(self, message: Message) -> bytes:
        """The body that answers with an object that is not stored as it is."""

    @abc.abstractmethod
    def pieces(self, page: Page, blocks: Iterable[Block]) -> Iterator[bytes]:
        """The body of a list, whose entries are those of ``blocks``: a piece for what comes before them, one for each block, and one for
        what comes behind them; each is made only as it is taken."""

    def page(self, page: Page) -> bytes:
        """The body of a list."""
        return b"".join(self.pieces(page, [page.entries]))

    def parts(self, page: Page) -> tuple[bytes, bytes]:
        """The same in two: what is this answer's own, and what may be others' too and is not copied for each."""
        return b"", self.page(page)

    def is_written(self, page: Page) -> bool:
        """Whether a list is put together already."""
        return False

    def has_ready(self, block: Block) -> bool:
        """Whether nothing is to be made for the piece of a block: to put it together takes no time, then."""
        return False

    @abc.abstractmethod
    def event(self, event: Event) -> Sequence[bytes]:
        """One frame of a watch, in parts to be written after one another: what is large and ready is among them and not copied."""

    @abc.abstractmethod
    def error(self, status: meta.Status) -> bytes:
        """The last frame of a watch that broke."""


def list_meta(page: Page) -> dict[str, object]:
    """A list's metadata as JSON has it."""
    found: dict[str, object] = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        found["continue"] = page.continue_token
        if page.remaining is not None:
            found["remainingItemCount"] = page.remaining
    return found


def json_frame(event_type: str, body: bytes) -> Sequence[bytes]:
    return b'{"type":"' + event_type.encode() + b'","object":', body, b"}\n"


def json_error_frame(status: meta.Status) -> bytes:
    return b'{"type":"ERROR","object":' + codec.to_json(status) + b"}\n"


def separated(parts: Iterable[list[bytes]]) -> Iterator[bytes]:
    """The items of a JSON list, joined part by part."""
    first = True
    for part in parts:
        yield b",".join(part if first else [b"", *part])
        first = first and not part


def _ended(items: list[bytes]) -> bytes:
    """The items of a JSON list, and the end of both."""
    return b",".join([*items[:-1], items[-1] + b"]}"]) if items else b"]}"


def bookmark_metadata(event: Event) -> dict[str, object]:
    metadata: dict[str, object] = {"resourceVersion": str(event.revision), "creationTimestamp": None}
    if event.initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return metadata


class JsonObjects(Representation):
    """The objects themselves as JSON."""

    is_shared = True

    def entry(self, entry: Entry) -> bytes:
        return entry.served(self.version).json

    def message(self, message: Message) -> bytes:
        found = self.version.from_storage(message)
        return self.version.form_of(found).to_json(found)

    def page(self, page: Page) -> bytes:
        return b"".join(self.parts(page))

    def parts(self, page: Page) -> tuple[bytes, bytes]:
        return self._head(page), self._joined(page.entries)

    def _joined(self, entries: Entries) -> bytes:
        """The items of a list, and its end."""
        if self.version.conversion is not None:
            return _ended(self._items(entries))
        if entries.joined is None:
            entries.joined = _ended(self._items(entries))
        return entries.joined

    def is_written(self, page: Page) -> bool:
        return self.version.conversion is None and page.entries.joined is not None

    def pieces(self, page: Page, blocks: Iterable[Block]) -> Iterator[bytes]:
        yield self._head(page)
        yield from separated(map(self._items, blocks))
        yield b"]}"

    def has_ready(self, block: Block) -> bool:
        return self.version.conversion is None and None not in [entry.written for entry in block]

    def _head(self, page: Page) -> bytes:
        head = orjson.dumps({"kind": self.version.list_kind, "apiVersion": self.version.api_version, "metadata": list_meta(page)})
        return head[:-1] + b',"items":['

    def _items(self, block: Block) -> list[bytes]:
        version = self.version
        if version.conversion is None:
            return [entry.json for entry in block]
        return [entry.served(version).json for entry in block]

    def event(self, event: Event) -> Sequence[bytes]:
        if event.entry is None:
            return (self._bookmark(event),)
        return json_frame(event.type, event.entry.served(self.version).json)

    def _bookmark(self, event: Event) -> bytes:
        found = {"kind": self.version.kind, "apiVersion": self.version.api_version, "metadata": bookmark_metadata(event)}
        return orjson.dumps({"type": event.type, "object": found}) + b"\n"

    def error(self, status: meta.Status) -> bytes:
        return json_error_frame(status)


class Yaml(Representation):
    """YAML of a form that is JSON; a watch has no YAML form."""

    content_type = negotiation.YAML

    def __init__(self, form: Representation) -> None:
        super().__init__(form.version)
        self._form = form

    def entry(self, entry: Entry) -> bytes:
        return to_yaml(self._form.entry(entry))

    def message(self, message: Message) -> bytes:
        return to_yaml(self._form.message(message))

    def pieces(self, page: Page, blocks: Iterable[Block]) -> Iterator[bytes]:
        """As JSON, which is YAML too: whoever asks for so much that it is sent in pieces will not read it."""
        return self._form.pieces(page, blocks)

    def page(self, page: Page) -> bytes:
        return to_yaml(self._form.page(page))

    def event(self, event: Event) -> Sequence[bytes]:
        return self._form.event(event)

    def error(self, status: meta.Status) -> bytes:
        return self._form.error(status)


def to_yaml(data: bytes) -> bytes:
    """JSON as a person writes YAML; much of it stays JSON, which is YAML too."""
    if len(data) > YAML_BYTES:
        return data
    dumped: bytes = yaml.dump(orjson.loads(data), Dumper=yaml.CSafeDumper, default_flow_style=False, encoding="utf-8", allow_unicode=True)
    return dumped


class ProtobufObjects(Representation):
    """Kubernetes' protobuf envelope; watch frames have a four-byte length before them."""

    is_shared = True
    content_type = negotiation.PROTOBUF
    watch_content_type = negotiation.PROTOBUF + ";stream=watch"

    def entry(self, entry: Entry) -> bytes:
        return wrap(self.version.api_version, self.version.kind, entry.served(self.version).with_revision)

    def message(self, message: Message) -> bytes:
        found = self.version.from_storage(message)
        api_version, kind = self.version.names if isinstance(found, self.version.message) else names_of(type(found))
        return wrap(api_version, kind, found.SerializeToString())

    def pieces(self, page: Page, blocks: Iterable[Block]) -> Iterator[bytes]:
        version = self.version
        sizes = (len(entry.served(version).raw) + len(resource_version(entry.revision)) for entry in page.entries)
        parts = ([entry.served(version).with_revision for entry in block] for block in blocks)
        return protobuf_list(version.api_version, version.list_kind, page, sizes, parts)

    def has_ready(self, block: Block) -> bool:
        return self.version.conversion is None

    def event(self, event: Event) -> Sequence[bytes]:
        if event.entry is None:
            return protobuf_frame(event.type, self.message(self.version.message(metadata=protobuf_bookmark(event))))
        entry = event.entry.served(self.version)
        version = resource_version(entry.revision)
        head = wrapping(self.version.api_version, self.version.kind, len(entry.raw) + len(version))
        return protobuf_frame(event.type, head, entry.raw, version)

    def error(self, status: meta.Status) -> bytes:
        return b"".join(protobuf_frame("ERROR", wrap("v1", "Status", status.SerializeToString())))


def protobuf_bookmark(event: Event) -> meta.ObjectMeta:
    metadata = meta.ObjectMeta(resource_version=str(event.revision))
    if event.initial_events_end:
        metadata.annotations[INITIAL_EVENTS_END] = "true"
    return metadata


def protobuf_list(api_version: str, kind: str, page: Page, sizes: Iterable[int], parts: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """A serialized list message in its envelope, which begins with how long it is: ``sizes`` are those of its items.

    Field 1 of a list is its metadata, field 2 its items, in every kind.
    """
    metadata = meta.ListMeta(resource_version=str(page.revision), continue_token=page.continue_token)
    if page.continue_token and page.remaining is not None:
        metadata.remaining_item_count = page.remaining
    raw = metadata.SerializeToString()
    head = b"".join((b"\x0a", varint(len(raw)), raw))
    yield wrapping(api_version, kind, len(head) + sum(1 + len(varint(size)) + size for size in sizes)) + head
    for part in parts:
        fields: list[bytes] = []
        for item in part:
            fields += (b"\x12", varint(len(item)), item)
        yield b"".join(fields)


def protobuf_frame(event_type: str, *wrapped: bytes) -> Sequence[bytes]:
    """A length and a WatchEvent: field 1 is its type, field 2 a RawExtension whose field 1 is the object, given in parts."""
    size = sum(map(len, wrapped))
    raw = b"\x0a" + varint(size)
    text = event_type.encode()
    head = b"".join((b"\x0a", varint(len(text)), text, b"\x12", varint(len(raw) + size), raw))
    return (len(head) + size).to_bytes(4, "big") + head, *wrapped
