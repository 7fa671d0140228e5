"""Chooses the representation of a kind for one request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from knarr.machinery.kinds import Kind
from services.apiserver.rest import negotiation
from services.apiserver.rest.negotiation import Wanted
from services.apiserver.rest.objects import JsonObjects, ProtobufObjects, Representation, YamlObjects
from services.apiserver.rest.partial import JsonMetadata, ProtobufMetadata
from services.apiserver.rest.query import Query
from services.apiserver.rest.tables import Tables
from services.apiserver.results import Written
from services.apiserver.strategies import Strategy

Strategies = Callable[[Kind], Strategy]


class Representations:
    """``strategies`` names the columns and renders the cells of Tables."""

    def __init__(self, strategies: Strategies) -> None:
        self._strategies = strategies

    def choose(self, kind: Kind, wanted: Wanted, query: Query) -> Representation:
        """Raises BadRequest for an unknown ``includeObject``."""
        if not wanted.transform:
            return plain(kind, wanted.media_type)
        if wanted.transform == "Table":
            return Tables(kind, self._strategies(kind), wanted.meta_version, query.text("includeObject"))
        if wanted.media_type == negotiation.PROTOBUF:
            return ProtobufMetadata(kind, wanted.meta_version)
        return JsonMetadata(kind, wanted.meta_version)


@lru_cache(maxsize=512)
def plain(kind: Kind, media_type: str) -> Representation:
    if media_type == negotiation.PROTOBUF:
        return ProtobufObjects(kind)
    return YamlObjects(kind) if media_type == negotiation.YAML else JsonObjects(kind)


def written(representation: Representation, result: Written, media_type: str) -> tuple[bytes, str]:
    """The body and its content type. A Status or a Scale is no object of the kind: it is written as it is."""
    if result.entry is not None:
        return representation.entry(result.entry), representation.content_type
    kind = representation.kind
    if not isinstance(result.message, kind.message):
        representation = plain(kind, media_type)
    return representation.message(result.message), representation.content_type
