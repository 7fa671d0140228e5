"""PartialObjectMetadata: objects without anything but their metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson
from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.envelope import wrap
from knarr.machinery.resources import Version
from knarr.objects.keys import metadata_of
from services.apiserver.entries import Block
from services.apiserver.entry import Entry
from services.apiserver.rest import negotiation
from services.apiserver.rest.objects import (
    Representation,
    bookmark_metadata,
    json_error_frame,
    json_frame,
    list_meta,
    protobuf_bookmark,
    protobuf_frame,
    protobuf_list,
    separated,
)
from services.apiserver.results import Event, Page


def metadata_json(entry: Entry, version: Version) -> dict[str, object]:
    """The metadata out of the ready-made JSON: cheaper than decoding and encoding the object. Versions may differ in annotations."""
    found: dict[str, object] = orjson.loads(entry.served(version).json)["metadata"]
    return found


class JsonMetadata(Representation):
    """Metadata as JSON, in ``meta.k8s.io`` v1 or v1beta1."""

    def __init__(self, version: Version, meta_version: str) -> None:
        super().__init__(version)
        self._api_version = f"meta.k8s.io/{meta_version}"

    def partial(self, metadata: dict[str, object]) -> dict[str, object]:
        return {"kind": "PartialObjectMetadata", "apiVersion": self._api_version, "metadata": metadata}

    def entry(self, entry: Entry) -> bytes:
        return orjson.dumps(self.partial(metadata_json(entry, self.version)))

    def message(self, message: Message) -> bytes:
        return orjson.dumps(self.partial(self._metadata_of(message)))

    def _metadata_of(self, message: Message) -> dict[str, object]:
        found = self.version.from_storage(message)
        metadata: dict[str, object] = self.version.form_of(found).to_dict(found)["metadata"]
        return metadata

    def pieces(self, page: Page, blocks: Iterable[Block]) -> Iterator[bytes]:
        head = {"kind": "PartialObjectMetadataList", "apiVersion": self._api_version, "metadata": list_meta(page)}
        yield orjson.dumps(head)[:-1] + b',"items":['
        yield from separated([self.entry(entry) for entry in block] for block in blocks)
        yield b"]}"

    def event(self, event: Event) -> Sequence[bytes]:
        metadata = bookmark_metadata(event) if event.entry is None else metadata_json(event.entry, self.version)
        return json_frame(event.type, orjson.dumps(self.partial(metadata)))

    def error(self, status: meta.Status) -> bytes:
        return json_error_frame(status)


class ProtobufMetadata(Representation):
    """Metadata in the protobuf envelope."""

    content_type = negotiation.PROTOBUF
    watch_content_type = negotiation.PROTOBUF + ";stream=watch"

    def __init__(self, version: Version, meta_version: str) -> None:
        super().__init__(version)
        self._api_version = f"meta.k8s.io/{meta_version}"

    def _partial(self, metadata: meta.ObjectMeta) -> bytes:
        return meta.PartialObjectMetadata(metadata=metadata).SerializeToString()

    def _wrap(self, metadata: meta.ObjectMeta) -> bytes:
        return wrap(self._api_version, "PartialObjectMetadata", self._partial(metadata))

    def entry(self, entry: Entry) -> bytes:
        return self._wrap(metadata_of(entry.served(self.version).message))

    def message(self, message: Message) -> bytes:
        return self._wrap(metadata_of(self.version.from_storage(message)))

    def pieces(self, page: Page, blocks: Iterable[Block]) -> Iterator[bytes]:
        """How long they all are is known only when they are made."""
        items = [self._partial(metadata_of(entry.served(self.version).message)) for entry in page.entries]
        sizes = map(len, items)
        return protobuf_list(self._api_version, "PartialObjectMetadataList", page, sizes, _parts(items, map(len, blocks)))

    def event(self, event: Event) -> Sequence[bytes]:
        wrapped = self._wrap(protobuf_bookmark(event)) if event.entry is None else self.entry(event.entry)
        return protobuf_frame(event.type, wrapped)

    def error(self, status: meta.Status) -> bytes:
        return b"".join(protobuf_frame("ERROR", wrap("v1", "Status", status.SerializeToString())))


def _parts(items: list[bytes], counts: Iterable[int]) -> Iterator[list[bytes]]:
    """The items in parts of so many each."""
    first = 0
    for count in counts:
        yield items[first : first + count]
        first += count
