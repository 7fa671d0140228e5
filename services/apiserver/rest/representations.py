"""Chooses the form in which a request is answered: the objects, their metadata or a Table, as JSON, YAML or protobuf."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from knarr.machinery.resources import Version
from services.apiserver.rest import negotiation
from services.apiserver.rest.negotiation import Wanted
from services.apiserver.rest.objects import JsonObjects, ProtobufObjects, Representation, Yaml
from services.apiserver.rest.partial import JsonMetadata, ProtobufMetadata
from services.apiserver.rest.query import Query
from services.apiserver.rest.tables import Tables
from services.apiserver.results import Written
from services.apiserver.strategies import Strategy

Strategies = Callable[[Version], Strategy]


class Representations:
    """``strategies`` names the columns and renders the cells of Tables."""

    def __init__(self, strategies: Strategies) -> None:
        self._strategies = strategies

    def choose(self, version: Version, wanted: Wanted, query: Query, *, listed: bool | None = False) -> Representation:
        """How one object is written, a list if ``listed``, either if that is None. Raises BadRequest for an unknown ``includeObject``,
        NotAcceptable for the metadata of a list where there is none, or the other way round, and for a Table of what is never listed."""
        if not wanted.transform:
            if wanted.media_type == negotiation.PROTOBUF and not version.form.has_message:
                if not wanted.text_type:
                    raise negotiation.not_acceptable((negotiation.JSON, negotiation.YAML))
                return plain(version, wanted.text_type)
            return plain(version, wanted.media_type)
        if wanted.transform == "Table":
            if version.list_message is None:
                raise negotiation.no_table(version.qualified)
            table = Tables(version, self._strategies(version), wanted.meta_version, query.text("includeObject"))
            return Yaml(table) if wanted.media_type == negotiation.YAML else table
        if listed is not None and wanted.transform.endswith("List") is not listed:
            raise negotiation.wrong_transform(wanted.transform, version.list_kind if listed else version.kind)
        if wanted.media_type == negotiation.PROTOBUF:
            return ProtobufMetadata(version, wanted.meta_version)
        metadata = JsonMetadata(version, wanted.meta_version)
        return Yaml(metadata) if wanted.media_type == negotiation.YAML else metadata


def forget() -> None:
    """Lets go of versions that may be served no more."""
    plain.cache_clear()


@lru_cache(maxsize=512)
def plain(version: Version, media_type: str) -> Representation:
    if media_type == negotiation.PROTOBUF:
        return ProtobufObjects(version)
    return Yaml(JsonObjects(version)) if media_type == negotiation.YAML else JsonObjects(version)


def written(representation: Representation, result: Written, media_type: str) -> tuple[bytes, str]:
    """The body and its content type. A Status or a Scale is no object of the kind: it is written as it is."""
    if result.entry is not None:
        return representation.entry(result.entry), representation.content_type
    version = representation.version
    if not isinstance(result.message, (version.message, version.resource.storage.message)):
        representation = plain(version, media_type)  # a Status, a Scale: a message also where its object has none
    return representation.message(result.message), representation.content_type
