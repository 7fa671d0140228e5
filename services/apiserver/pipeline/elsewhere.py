"""Reads, watches, updates and deletes of what another API server serves: asked there, in the caller's name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import ADDED, BOOKMARK, DELETED, MODIFIED
from knarr.machinery import codec
from knarr.machinery.errors import StatusError, bad_request, status_error
from knarr.machinery.resources import Version
from services.apiserver.aside import aside
from services.apiserver.deadline import within
from services.apiserver.elsewhere import FOLLOW_SECONDS, Lines, refusal_of
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.request import Request
from services.apiserver.results import Event, Page, Written
from services.apiserver.storage.keys import object_key

ERROR = "ERROR"
# In a path, besides letters and digits: metrics of all pods are asked for as of one called so.
SAFE = "*"
UPWARDS = frozenset((".", ".."))


async def get(pipeline: Pipeline, request: Request) -> Written:
    answer = await _ask(pipeline, request, "GET", _path(request))
    return Written(entry=await aside(len(answer), _entry, request.ref.version, _parsed(answer)))


async def ask(pipeline: Pipeline, request: Request, query: Mapping[str, str]) -> bytes:
    """What has no objects here: the answer as it came. Raises ServiceUnavailable where nobody serves the group."""
    version = request.ref.version
    if not version.version:
        words = f"nobody serves {version.group}: it needs an APIService of that group that is available"
        raise status_error("ServiceUnavailable", words)
    path = _path(request)
    return await _ask(pipeline, request, "GET", f"{path}?{urlencode(query)}" if query else path)


async def list_page(pipeline: Pipeline, request: Request) -> Page:
    options = request.options
    wanted = {
        "labelSelector": options.label_selector,
        "fieldSelector": options.field_selector,
        "limit": options.limit or "",
        "continue": options.continue_token,
        "resourceVersion": options.resource_version,
    }
    query = urlencode({name: value for name, value in wanted.items() if value})
    answer = await _ask(pipeline, request, "GET", f"{_path(request)}?{query}" if query else _path(request))
    return await aside(len(answer), _page, request.ref.version, answer)


async def watch(pipeline: Pipeline, request: Request) -> Lines:
    """What ``events`` reads. Close it."""
    _check(pipeline, request)
    options = request.options
    wanted = {
        "watch": "true",
        "allowWatchBookmarks": "true" if options.allow_watch_bookmarks else "",
        "labelSelector": options.label_selector,
        "fieldSelector": options.field_selector,
        "resourceVersion": options.resource_version,
        "timeoutSeconds": str(min(options.timeout_seconds or FOLLOW_SECONDS, FOLLOW_SECONDS)),
    }
    query = urlencode({name: value for name, value in wanted.items() if value})
    following = pipeline.elsewhere.follow(request.ref.version, f"{_path(request)}?{query}", request.user)
    return await within(request.deadline, following, "the other server")


async def events(version: Version, answer: Lines) -> AsyncGenerator[Sequence[Event], None]:
    """Changes one by one, as they are told there. Raises Expired where the revision is held there no longer, ServiceUnavailable where
    it breaks off."""
    async with aclosing(answer.lines()) as lines:
        async for line in lines:
            if line.strip():
                yield (await aside(len(line), _event, version, line),)


async def update(pipeline: Pipeline, request: Request, obj: Any) -> Written:
    """``obj`` is sent as it is; its resourceVersion is judged there."""
    _check(pipeline, request)
    answer = await _ask(pipeline, request, "PUT", _path(request), obj.SerializeToString())
    return Written(entry=await aside(len(answer), _entry, request.ref.version, _parsed(answer)))


async def delete(pipeline: Pipeline, request: Request) -> Written:
    """The answer is told as a success: what became of the object, the next read says."""
    _check(pipeline, request)
    options = orjson.dumps({"apiVersion": "v1", "kind": "DeleteOptions", **codec.to_dict(request.options)})
    await _ask(pipeline, request, "DELETE", _path(request), options)
    return Written(meta.Status(status="Success"))


def _check(pipeline: Pipeline, request: Request) -> None:
    if request.resource not in pipeline.elsewhere:
        raise status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")


async def _ask(pipeline: Pipeline, request: Request, method: str, path: str, body: bytes = b"") -> bytes:
    return await within(request.deadline, pipeline.elsewhere.ask(request.ref.version, method, path, body, request.user), "the other server")


def _path(request: Request) -> str:
    version = request.ref.version
    parts = ["", "apis", version.group, version.version]
    parts += ["namespaces", request.namespace] if request.namespace else []
    parts += [part for part in (request.resource.plural, request.name, request.subresource) if part]
    if any(part in UPWARDS or "/" in part for part in parts):
        # The other side may follow it to what the caller was not permitted.
        raise bad_request("no name may be . or .. or have a slash")
    return "/".join(quote(part, safe=SAFE) for part in parts)


def _parsed(answer: bytes) -> object:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise _nonsense(str(error)) from None


def _page(version: Version, answer: bytes) -> Page:
    found = _parsed(answer)
    if not isinstance(found, dict) or not isinstance(found.get("items"), list):
        raise _nonsense("it is no list")
    about = found.get("metadata")
    about = about if isinstance(about, dict) else {}
    token = about.get("continue")
    entries = Entries.of([_entry(version, item) for item in found["items"]])
    return Page(entries, _revision(about.get("resourceVersion")), token if isinstance(token, str) else "")


def _event(version: Version, line: bytes) -> Event:
    found = _parsed(line)
    sort, said = (found.get("type"), found.get("object")) if isinstance(found, dict) else (None, None)
    if sort == ERROR:
        raise refusal_of(orjson.dumps(said))
    if sort == BOOKMARK and isinstance(said, dict):
        about = said.get("metadata")
        return Event(BOOKMARK, _revision(about.get("resourceVersion") if isinstance(about, dict) else None))
    if sort not in (ADDED, MODIFIED, DELETED):
        raise _nonsense("it is no event of a watch")
    entry = _entry(version, said)
    return Event(sort, entry.revision, entry)


def _entry(version: Version, item: object) -> Entry:
    try:
        made = version.message.FromString(orjson.dumps(item))
    except (StatusError, ValueError) as error:
        raise _nonsense(str(error)) from None
    metadata = made.metadata  # type: ignore[attr-defined]
    revision, metadata.resource_version = _revision(metadata.resource_version), ""
    return Entry(version, object_key(version.resource, metadata.namespace, metadata.name), revision, made.SerializeToString())


def _revision(said: object) -> int:
    """Of other servers it need not be a number; nobody here compares it."""
    return int(said) if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 20 else 0


def _nonsense(words: str) -> StatusError:
    return status_error("ServiceUnavailable", f"the other server's answer cannot be read: {words[:200]}")
