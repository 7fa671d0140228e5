"""Which options of lists and watches go together; as specified by Kubernetes' ListOptions. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause, invalid
from knarr.machinery.validation import forbidden, not_supported, shown

EXACT, NOT_OLDER_THAN = "Exact", "NotOlderThan"
# In Kubernetes' order, which is no other list's.
MATCHES = f'"{EXACT}", "{NOT_OLDER_THAN}", ""'
MATCH, INITIAL_EVENTS = "resourceVersionMatch", "sendInitialEvents"
WITH_CONTINUE = f"{MATCH} is forbidden when continue is provided"


def check_list_options(options: meta.ListOptions) -> None:
    """Of a list, and of a delete of what is listed. Raises Invalid."""
    if options.resource_version_match or options.HasField("send_initial_events"):
        _refuse(list(_causes_of_list(options)))


def check_watch_options(options: meta.ListOptions) -> None:
    """Raises Invalid."""
    if options.resource_version_match or options.HasField("send_initial_events"):
        _refuse(list(_causes_of_watch(options)))


def _refuse(causes: list[Cause]) -> None:
    if causes:
        raise invalid("ListOptions", "", causes, "meta.k8s.io")


def _causes_of_list(options: meta.ListOptions) -> Iterator[Cause]:
    match = options.resource_version_match
    if match and not options.resource_version:
        yield forbidden(MATCH, f"{MATCH} is forbidden unless resourceVersion is provided")
    if match and options.continue_token:
        yield forbidden(MATCH, WITH_CONTINUE)
    if match not in ("", EXACT, NOT_OLDER_THAN):
        yield Cause("FieldValueNotSupported", f"Unsupported value: {shown(match)}: supported values: {MATCHES}", MATCH)
    if match == EXACT and options.resource_version == "0":
        yield forbidden(MATCH, f'{MATCH} "exact" is forbidden for resourceVersion "0"')
    if options.HasField("send_initial_events"):
        yield forbidden(INITIAL_EVENTS, f"{INITIAL_EVENTS} is forbidden for list")


def _causes_of_watch(options: meta.ListOptions) -> Iterator[Cause]:
    match, has_initial_events = options.resource_version_match, options.HasField("send_initial_events")
    if has_initial_events and match != NOT_OLDER_THAN:
        yield forbidden(MATCH, f"{INITIAL_EVENTS} requires setting {MATCH} to {NOT_OLDER_THAN}")
    if match and not has_initial_events:
        yield forbidden(MATCH, f"{MATCH} is forbidden for watch unless {INITIAL_EVENTS} is provided")
    if match not in ("", NOT_OLDER_THAN):
        yield not_supported(MATCH, match, (NOT_OLDER_THAN,))
    if match and options.continue_token:
        yield forbidden(MATCH, WITH_CONTINUE)
