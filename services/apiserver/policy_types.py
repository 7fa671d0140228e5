"""Keeps in the status of each ValidatingAdmissionPolicy what the types of its kinds make of its expressions.

A policy holds whatever it is told there: a misspelt field is a mistake of its author, who reads it with the policy. Specified by
Kubernetes' controller ``validatingadmissionpolicystatus``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.machinery.resources import Registry, Version
from knarr.machinery.schema import descriptor_of
from services.apiserver.aside import in_turn
from services.apiserver.backend import Backend
from services.apiserver.storage.keys import collection_prefix

if TYPE_CHECKING:
    from knarr.machinery.cel.types import Type

log = logging.getLogger(__name__)

POLICIES = version_of(admission.ValidatingAdmissionPolicy).resource
# Of one policy; others are not looked at, as in Kubernetes.
MAX_TYPES = 10
# What is told of one expression.
MAX_WARNING_LETTERS = 16 * 1024
RETRY_SECONDS = 1.0


class PolicyTypes:
    """One of several API servers is enough; what all of them say is the same."""

    def __init__(self, client: Client, backend: Backend, registry: Registry) -> None:
        self._client, self._backend, self._registry = client, backend, registry
        self._changed = asyncio.Event()
        backend.cache.collection(POLICIES).listen(self._changed.set)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self._backend.synced()
                await self._look()
            except StatusError as error:
                log.warning("the types of policies could not be told, trying again: %s", error.status.message)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._changed.wait()

    async def _look(self) -> None:
        for entry in self._backend.cache.collection(POLICIES).listing(collection_prefix(POLICIES)):
            policy = entry.shared_message
            if policy.status.observed_generation != policy.metadata.generation or not policy.status.HasField("type_checking"):
                await self._tell(policy)

    async def _tell(self, policy: Any) -> None:
        from services.apiserver.admission.policies.type_warnings import warnings_of

        kinds = list(kinds_of(policy.spec, self._registry))
        found = await in_turn(warnings_of, policy.spec, {shown(kind): type_of(kind) for kind in kinds}, self._param_type(policy.spec))
        warnings = [{"fieldRef": place, "warning": words[:MAX_WARNING_LETTERS]} for place, words in found]
        status = {"observedGeneration": policy.metadata.generation, "typeChecking": {"expressionWarnings": warnings or None}}
        # What is told is about what was looked at.
        metadata = {"resourceVersion": policy.metadata.resource_version}
        try:
            patch = {"metadata": metadata, "status": status}
            await self._client.patch(admission.ValidatingAdmissionPolicy, policy.metadata.name, patch=patch, subresource="status")
        except (NotFound, Conflict):
            return

    def _param_type(self, spec: Any) -> Type | None:
        """None where there are no parameters, or nothing is known of their kind."""
        if not spec.HasField("param_kind"):
            return None
        group, _, name = spec.param_kind.api_version.rpartition("/")
        version = self._registry.named(group, name, spec.param_kind.kind)
        return type_of(version) if version is not None else None


def kinds_of(spec: Any, registry: Registry) -> Iterable[Version]:
    """The kinds that the rules name, without those that a rule with a star means, in the order of group, version and kind."""
    found: dict[tuple[str, str, str], Version] = {}
    for version in _named(spec, registry):
        found.setdefault((version.group, version.version, version.kind), version)
        if len(found) == MAX_TYPES:
            break
    return [found[names] for names in sorted(found)]


def _named(spec: Any, registry: Registry) -> Iterator[Version]:
    for one in spec.match_constraints.resource_rules:
        rule = one.rule_with_operations.rule
        if any("*" in name for name in (*rule.api_groups, *rule.api_versions)):
            continue
        resources = [name for name in rule.resources if "*" not in name and "/" not in name]
        for group in sorted(rule.api_groups):
            for version in sorted(rule.api_versions):
                for plural in sorted(resources):
                    if (found := registry.served(group, version, plural)) is not None:
                        yield found


def shown(version: Version) -> str:
    return f"{version.api_version}, Kind={version.kind}"


def type_of(version: Version) -> Type:
    """The type of the objects of a version."""
    from knarr.machinery.cel.messages import type_of_message
    from knarr.machinery.cel.types import DYN, Field
    from knarr.machinery.custom.rule_types import type_of as type_of_schema

    if version.form.has_message:
        return type_of_message(descriptor_of(version.message))
    schema = version.form.schema  # type: ignore[attr-defined]
    found = type_of_schema(schema.source, whole=True) if schema is not None else None
    if found is None or found.fields is None or schema.preserve:
        return DYN
    fields: Mapping[str, Field] = found.fields
    return replace(found, fields={**fields, "metadata": Field("metadata", type_of_message(descriptor_of(meta.ObjectMeta)))})
