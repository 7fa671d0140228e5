"""Which form a client sends and wants: JSON, YAML or protobuf; the object, a Table or its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from knarr.machinery.errors import StatusError, status_error
from knarr.service.accepting import Clause, clauses

# A longer Accept header is read anew each time.
REMEMBERED_BYTES = 512
JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MEDIA_TYPES = (JSON, YAML, PROTOBUF)

PATCH_TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}

_META_VERSIONS = ("v1", "v1beta1")
_TRANSFORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form of an answer. ``transform`` is empty, ``Table``, ``PartialObjectMetadata`` or ``PartialObjectMetadataList``.

    ``text_type`` is what is acceptable of objects that have no protobuf form; empty for nothing.
    """

    media_type: str = JSON
    transform: str = ""
    meta_version: str = "v1"
    text_type: str = field(default=JSON, compare=False)


def wanted(accept: bytes) -> Wanted:
    """The first acceptable form; raises NotAcceptable. No header means JSON."""
    return _known(accept) if len(accept) <= REMEMBERED_BYTES else _wanted(accept)


def _wanted(accept: bytes) -> Wanted:
    if not accept.strip():
        return Wanted()
    forms = [form for clause in clauses(accept.decode("latin-1")) if (form := _form(clause)) is not None]
    if not forms:
        raise not_acceptable(MEDIA_TYPES)
    text_type = next((form.media_type for form in forms if form.media_type != PROTOBUF and not form.transform), "")
    return replace(forms[0], text_type=text_type)


_known = lru_cache(maxsize=256)(_wanted)


def _form(clause: Clause) -> Wanted | None:
    media_type = JSON if clause.media_type in ("*/*", "application/*") else clause.media_type
    if media_type not in MEDIA_TYPES:
        return None
    transform = clause.parameters.get("as", "")
    if not transform:
        return Wanted(media_type)
    version = clause.parameters.get("v", "")
    if transform not in _TRANSFORMS or clause.parameters.get("g") != "meta.k8s.io" or version not in _META_VERSIONS:
        return None
    if transform == "Table" and media_type == PROTOBUF:
        return None
    return Wanted(media_type, transform, version)


def error_type(accept: bytes) -> str:
    """The media type of an error: the wanted one, JSON for who wants none that there is."""
    try:
        return wanted(accept).media_type
    except StatusError:
        return JSON


def first_of(media_types: tuple[str, ...], accept: bytes) -> str:
    """The most wanted of some media types, the first of them when anything will do; raises NotAcceptable."""
    if not accept.strip():
        return media_types[0]
    for clause in clauses(accept.decode("latin-1")):
        if clause.media_type in ("*/*", "application/*"):
            return media_types[0]
        if clause.media_type in media_types:
            return clause.media_type
    raise not_acceptable(media_types)


def knows(etag: str, if_none_match: bytes) -> bool:
    """Whether a client has what an ETag names, by its If-None-Match header."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.decode("latin-1").split(",")]
    return etag in tags or "*" in tags


def not_acceptable(media_types: tuple[str, ...]) -> StatusError:
    return status_error("NotAcceptable", f"only the following media types are accepted: {', '.join(media_types)}")


def wrong_transform(transform: str, kind: str) -> StatusError:
    """For a list's metadata where there is one object, or the other way round; ``kind`` is what there is."""
    is_not = "is not a list" if transform.endswith("List") else "is a list"
    return status_error("NotAcceptable", f"you requested {transform}, but the requested object {is_not} ({kind})")


def no_table(qualified: str) -> StatusError:
    """For what is answered once and never listed."""
    return status_error("NotAcceptable", f"the resource {qualified} does not support being converted to a Table")


def body_type(content_type: bytes) -> str:
    """The media type of a body; JSON when the header is missing; raises UnsupportedMediaType."""
    media_type = _media_type(content_type) if content_type else JSON
    if media_type not in MEDIA_TYPES:
        raise unsupported_media_type()
    return media_type


def unsupported_media_type(media_types: tuple[str, ...] = MEDIA_TYPES) -> StatusError:
    accepted = ", ".join(media_types)
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return status_error("UnsupportedMediaType", message)


def patch_type(content_type: bytes) -> str:
    """``json``, ``merge``, ``strategic`` or ``apply``; raises UnsupportedMediaType."""
    found = PATCH_TYPES.get(_media_type(content_type))
    if found is None:
        error = status_error("UnsupportedMediaType", "415: Unsupported Media Type")
        error.status.details.SetInParent()
        raise error
    return found


def _media_type(header: bytes) -> str:
    return header.partition(b";")[0].strip().lower().decode("latin-1")
