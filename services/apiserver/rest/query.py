"""Query parameters, and the option messages that they spell."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause, StatusError, bad_request, invalid
from knarr.machinery.forms import parse_duration

_INT64 = 2**63
# Each argument of a command to exec is one.
MAX_PARAMETERS = 4096
# The elements of a time, as Go's layout names them, and how each is written.
_MOMENT = tuple(
    (element, re.compile(pattern, re.ASCII))
    for element, pattern in (
        ("2006", r"\d{4}"), ("-", "-"), ("01", r"\d\d"), ("-", "-"), ("02", r"\d\d"), ("T", "T"),
        ("15", r"\d\d"), (":", ":"), ("04", r"\d\d"), (":", ":"), ("05", r"\d\d(?:[.,]\d+)?"), ("Z07:00", r"Z|[+-]\d\d:\d\d"),
    )
)  # fmt: skip


class Query:
    """The parameters of one request. Of a repeated one the first counts, as in Kubernetes."""

    __slots__ = ("_values",)

    def __init__(self, query_string: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        if query_string:
            if query_string.count(b"&") >= MAX_PARAMETERS:
                raise bad_request(f"a request may have {MAX_PARAMETERS} query parameters at most")
            for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
                self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._values)

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def text(self, name: str) -> str:
        values = self._values.get(name)
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        """Present without a value is true; so is every value but ``false`` and ``0``."""
        return name in self._values and self.text(name).lower() not in ("false", "0")

    def integer(self, name: str) -> int | None:
        """None when absent or empty; raises BadRequest for what is no 64-bit integer."""
        text = self.text(name)
        if not text:
            return None
        digits = text[1:] if text[0] in "+-" else text
        if not (digits.isascii() and digits.isdigit()):
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        value = int(text) if len(digits) < 20 else _INT64
        if not -_INT64 <= value < _INT64:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
        return value

    def moment(self, name: str) -> str:
        """A time of RFC 3339 as it was written; empty when absent, empty or ``null``, which old clients say. Raises BadRequest."""
        text = self.text(name)
        if text in ("", "null"):
            return ""
        rest = text
        for element, pattern in _MOMENT:
            if (found := pattern.match(rest)) is None:
                raise bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{rest}" as "{element}"')
            rest = rest[found.end() :]
        if rest:
            raise bad_request(f'parsing time "{text}": extra text: "{rest}"')
        return text

    def seconds(self, name: str) -> float | None:
        """A Go duration (``30s``, ``1m30s``) in seconds; None when absent or empty; raises BadRequest."""
        text = self.text(name)
        if not text:
            return None
        try:
            return parse_duration(text) / 1e9
        except ValueError as error:
            raise bad_request(f"invalid {name} specified in the request URL - {error}") from None


NEWEST = meta.GetOptions()
# Of writes without parameters, which all share.
PLAIN_CREATE, PLAIN_UPDATE = meta.CreateOptions(field_validation="Warn"), meta.UpdateOptions(field_validation="Warn")


def get_options(query: Query) -> meta.GetOptions:
    """Options of a get; mostly there are none, and all share those."""
    revision = query.text("resourceVersion")
    return meta.GetOptions(resource_version=revision) if revision else NEWEST


def list_options(query: Query) -> meta.ListOptions:
    """Options of a list, a watch or the choice of a deletecollection."""
    options = meta.ListOptions(
        label_selector=query.text("labelSelector"),
        field_selector=query.text("fieldSelector"),
        watch=query.flag("watch"),
        allow_watch_bookmarks=query.flag("allowWatchBookmarks"),
        resource_version=query.text("resourceVersion"),
        resource_version_match=query.text("resourceVersionMatch"),
        limit=query.integer("limit") or 0,
        continue_token=query.text("continue"),
    )
    timeout_seconds = query.integer("timeoutSeconds")
    if timeout_seconds is not None:
        options.timeout_seconds = timeout_seconds
    if "sendInitialEvents" in query:
        options.send_initial_events = query.flag("sendInitialEvents")
    return options


def create_options(query: Query) -> meta.CreateOptions:
    if not query:
        return PLAIN_CREATE
    return meta.CreateOptions(
        dry_run=dry_run(query, "CreateOptions"),
        field_manager=query.text("fieldManager"),
        field_validation=field_validation(query, "CreateOptions"),
    )


def update_options(query: Query) -> meta.UpdateOptions:
    if not query:
        return PLAIN_UPDATE
    return meta.UpdateOptions(
        dry_run=dry_run(query, "UpdateOptions"),
        field_manager=query.text("fieldManager"),
        field_validation=field_validation(query, "UpdateOptions"),
    )


def patch_options(query: Query) -> meta.PatchOptions:
    options = meta.PatchOptions(
        dry_run=dry_run(query, "PatchOptions"),
        field_manager=query.text("fieldManager"),
        field_validation=field_validation(query, "PatchOptions"),
    )
    if "force" in query:
        options.force = query.flag("force")
    return options


def delete_options(query: Query, body: meta.DeleteOptions | None) -> meta.DeleteOptions:
    """The body's options where there is a body, else those of the query."""
    options = body if body is not None else _delete_options(query)
    if any(value != "All" for value in options.dry_run):
        raise _unsupported("DeleteOptions", "dryRun", list(options.dry_run), ("All",))
    return options


def _delete_options(query: Query) -> meta.DeleteOptions:
    options = meta.DeleteOptions(dry_run=query.all("dryRun"))
    grace_period_seconds = query.integer("gracePeriodSeconds")
    if grace_period_seconds is not None:
        options.grace_period_seconds = grace_period_seconds
    if query.text("propagationPolicy"):
        options.propagation_policy = query.text("propagationPolicy")
    if "orphanDependents" in query:
        options.orphan_dependents = query.flag("orphanDependents")
    return options


def dry_run(query: Query, options: str) -> list[str]:
    values = query.all("dryRun")
    if any(value != "All" for value in values):
        raise _unsupported(options, "dryRun", values, ("All",))
    return values


def field_validation(query: Query, options: str) -> str:
    """``Strict``, ``Warn`` (also when absent) or ``Ignore``; raises Invalid."""
    value = query.text("fieldValidation")
    if value not in ("", "Ignore", "Warn", "Strict"):
        raise _unsupported(options, "fieldValidation", value, ("", "Ignore", "Strict", "Warn"))
    return value or "Warn"


def _unsupported(options: str, field: str, value: str | list[str], supported: tuple[str, ...]) -> StatusError:
    """422 in Kubernetes' words, with the value as JSON."""
    listed = ", ".join(f'"{text}"' for text in supported)
    cause = Cause("FieldValueNotSupported", f"Unsupported value: {orjson.dumps(value).decode()}: supported values: {listed}", field)
    return invalid(options, "", [cause], "meta.k8s.io")
