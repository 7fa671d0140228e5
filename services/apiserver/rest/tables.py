"""Tables: rows of cells that the server renders, as ``kubectl get`` shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import orjson
from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import bad_request
from knarr.machinery.resources import Version
from services.apiserver.aside import MANY_OBJECTS
from services.apiserver.entries import Block
from services.apiserver.entry import Entry
from services.apiserver.rest.objects import Representation, bookmark_metadata, json_error_frame, json_frame, list_meta, separated
from services.apiserver.rest.partial import metadata_json
from services.apiserver.results import Event, Page
from services.apiserver.strategies import Column, Strategy

INCLUDE_OBJECT = ("", "Metadata", "Object", "None")
EMPTY_CELLS: dict[str, object] = {"integer": 0, "number": 0, "boolean": False}


class Tables(Representation):
    """Objects as Tables. Only the first frame of a watch names the columns.

    ``include_object`` is what a row carries beside its cells: Metadata (the default), Object, None.
    """

    def __init__(self, version: Version, strategy: Strategy, meta_version: str, include_object: str) -> None:
        super().__init__(version)
        if include_object not in INCLUDE_OBJECT:
            problem = f"includeObject: Invalid value: \"{include_object}\": must be 'Metadata', 'Object', 'None', or empty"
            raise bad_request(f"Unable to convert to Table as requested: {problem}")
        self._strategy = strategy
        self._api_version = f"meta.k8s.io/{meta_version}"
        self._include = include_object or "Metadata"
        self._named_columns = False

    def entry(self, entry: Entry) -> bytes:
        return self._table({"resourceVersion": str(entry.revision)}, [self._row(entry)])

    def message(self, message: Message) -> bytes:
        shown = self.version.from_storage(message)
        found = self.version.form_of(shown).to_dict(shown)
        return self._table({}, [self._row_of(message, orjson.dumps(found), found.get("metadata", {}))])

    def pieces(self, page: Page, blocks: Iterable[Block]) -> Iterator[bytes]:
        yield self._head(list_meta(page))
        # Of a few it is worth it to keep what they are decoded to.
        keep = len(page.entries) <= MANY_OBJECTS
        yield from separated([self._row(entry, keep=keep) for entry in block] for block in blocks)
        yield b"]}"

    def event(self, event: Event) -> Sequence[bytes]:
        if event.entry is None:
            table = self._table({"resourceVersion": str(event.revision)}, [self._bookmark(event)], with_columns=not self._named_columns)
        else:
            metadata: dict[str, object] = {"resourceVersion": str(event.revision)}
            table = self._table(metadata, [self._row(event.entry)], with_columns=not self._named_columns)
        self._named_columns = True
        return json_frame(event.type, table)

    def error(self, status: meta.Status) -> bytes:
        return json_error_frame(status)

    def _table(self, metadata: dict[str, object], rows: list[bytes], *, with_columns: bool = True) -> bytes:
        return b"".join((self._head(metadata, with_columns=with_columns), b",".join(rows), b"]}"))

    def _head(self, metadata: dict[str, object], *, with_columns: bool = True) -> bytes:
        """What comes before the rows."""
        head = orjson.dumps(
            {
                "kind": "Table",
                "apiVersion": self._api_version,
                "metadata": metadata,
                "columnDefinitions": column_definitions(self._strategy.columns) if with_columns else None,
            }
        )
        return head[:-1] + b',"rows":['

    def _bookmark(self, event: Event) -> bytes:
        """A row of nothing but the metadata that a bookmark tells."""
        partial = {"kind": "PartialObjectMetadata", "apiVersion": self._api_version, "metadata": bookmark_metadata(event)}
        return orjson.dumps({"cells": [EMPTY_CELLS.get(column.type, "") for column in self._strategy.columns], "object": partial})

    def _row(self, entry: Entry, *, keep: bool = True) -> bytes:
        metadata = metadata_json(entry, self.version) if self._include == "Metadata" else {}
        return self._row_of(entry.shared_message if keep else entry.seen, entry.served(self.version).json, metadata)

    def _row_of(self, message: Message, whole: bytes, metadata: object) -> bytes:
        cells = orjson.dumps(self._strategy.cells(message, datetime.now(UTC)))
        return b"".join((b'{"cells":', cells, b',"object":', self._object(whole, metadata), b"}"))

    def _object(self, whole: bytes, metadata: object) -> bytes:
        if self._include == "None":
            return b"null"
        if self._include == "Object":
            return whole
        return orjson.dumps({"kind": "PartialObjectMetadata", "apiVersion": self._api_version, "metadata": metadata})


def column_definitions(columns: Sequence[Column]) -> list[dict[str, object]]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]
