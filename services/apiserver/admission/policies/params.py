"""The parameters of a policy: objects of a kind that it names, chosen by its binding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Version
from knarr.machinery.selectors import label_selector
from services.apiserver.admission.inquiry import Inquiry
from services.apiserver.admission.matching import place_of
from services.apiserver.admission.policies.compiled import Binding, Policy
from services.apiserver.admission.shown import Json
from services.apiserver.backend import Backend
from services.apiserver.entry import Entry
from services.apiserver.results import Ref
from services.apiserver.storage.keys import collection_prefix

DENY = "Deny"
# A policy is evaluated for each of them.
MAX_PARAMS = 1000


class Misconfigured(Exception):
    """A policy or its binding makes no sense for this request: its failurePolicy says what becomes of that."""


async def params_of(inquiry: Inquiry, policy: Policy, binding: Binding) -> Sequence[Json | None]:
    """As JSON; None alone where there is no parameter. Raises Misconfigured."""
    if not policy.has_params or not binding.spec.HasField("param_ref"):
        return [None]
    backend, deadline = inquiry.backend, inquiry.attributes.request.deadline
    api_version, kind = policy.param_names
    group, _, name = api_version.rpartition("/")
    version = backend.cache.registry.named(group, name, kind)
    if version is None or not version.resource.stored:
        raise Misconfigured(f"failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")
    reference = binding.spec.param_ref
    place = _place(version, reference.namespace, place_of(inquiry.attributes))
    try:
        found = await _entries(backend, version, place, reference, deadline)
        entries = await inquiry.outside.conversions.entries(version, found, deadline)
    except StatusError as error:
        raise Misconfigured(error.status.message) from None
    if not entries and reference.parameter_not_found_action == DENY:
        raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    if len(entries) > MAX_PARAMS:
        raise Misconfigured(f"a policy may have {MAX_PARAMS} params for one request at most, and has {len(entries)}")
    return [orjson.loads(entry.served(version).json) for entry in entries]


def _place(version: Version, said: str, namespace: str) -> str:
    """The namespace of the parameters; empty for those that lie in none."""
    if not version.resource.namespaced:
        if said:
            raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return ""
    if not (said or namespace):
        raise Misconfigured("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    return said or namespace


async def _entries(backend: Backend, version: Version, place: str, reference: Any, deadline: float) -> list[Entry]:
    if reference.name:
        # One that was made a moment ago elsewhere is asked for in the store.
        entry = await backend.current(Ref(version, place, reference.name), deadline)
        return [entry] if entry is not None else []
    selector = label_selector(reference.selector)
    listing = backend.cache.collection(version.resource).listing(collection_prefix(version.resource, place))
    return [entry for entry in listing if selector.matches(entry.labels)]
