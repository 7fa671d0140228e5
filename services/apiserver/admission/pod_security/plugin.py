"""Pods keep to the standard that their namespace asks for by its labels; templates of pods are told of.

Specified by Kubernetes' Pod Security Standards and its plugin of the same name.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import invalid
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.pod_security.changes import is_significant
from services.apiserver.admission.pod_security.checks import Violations, violations
from services.apiserver.admission.pod_security.configuration import PodSecurityConfiguration
from services.apiserver.admission.pod_security.levels import (
    LEVELS,
    PREFIX,
    PRIVILEGED,
    Policy,
    Standard,
    label_causes,
    policy_of,
    says_nothing,
)
from services.apiserver.admission.pod_security.subject import Subject
from services.apiserver.admission.refusals import refused
from services.apiserver.backend import Backend
from services.apiserver.entry import Entry
from services.apiserver.results import Ref
from services.apiserver.storage.keys import collection_prefix

PODS, NAMESPACES = version_of(core.Pod).resource, version_of(core.Namespace)
TEMPLATED = frozenset(
    version_of(kind).resource
    for kind in (
        core.ReplicationController, core.PodTemplate, apps.ReplicaSet, apps.Deployment, apps.StatefulSet, apps.DaemonSet, batch.Job,
        batch.CronJob,
    )
)  # fmt: skip
# Of a pod: what has its spec, whole.
POD_PARTS = frozenset({"", "ephemeralcontainers", "resize"})
# Of those that are in a namespace already: so many are looked at, with so many containers, which take about a second; and so many
# containers before others have their turn.
MAX_PODS, MAX_CONTAINERS, AT_ONCE = 3000, 10_000, 100
PLAIN = PodSecurityConfiguration()


class PodSecurity:
    name: ClassVar[str] = "PodSecurity"

    def __init__(self, backend: Backend, *, configuration: PodSecurityConfiguration = PLAIN) -> None:
        self._backend, self._configuration = backend, configuration
        # Whether everything is allowed where a namespace says nothing.
        self._free = configuration.default.allows_all("enforce", "audit", "warn")

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if operation not in (CREATE, UPDATE):
            return False
        if resource is PODS:
            return subresource in POD_PARTS
        return not subresource and (resource in TEMPLATED or resource is NAMESPACES.resource)

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden for a pod, Invalid for the labels of a namespace."""
        if attributes.resource is NAMESPACES.resource:
            await self._validate_namespace(attributes)
            return
        entry = self._backend.cached(NAMESPACES.resource, "", attributes.namespace)
        if self._free and entry is not None and says_nothing(entry.labels):
            return  # as in most namespaces
        exempt = self._configuration
        if attributes.namespace in exempt.namespaces or attributes.user.name in exempt.usernames:
            return
        policy = await self._policy(attributes, entry)
        enforced = attributes.resource is PODS
        if policy.allows_all("audit", "warn", *(["enforce"] if enforced else [])):
            return
        pod = attributes.obj if enforced else _template(attributes.obj)
        if enforced and attributes.old is not None and not is_significant(pod, attributes.old):
            return
        if pod.spec.HasField("runtime_class_name") and pod.spec.runtime_class_name in exempt.runtime_classes:
            return
        _judge(attributes, policy, Subject(pod.metadata.annotations, pod.spec), enforced=enforced)

    async def _policy(self, attributes: Attributes, entry: Entry | None) -> Policy:
        """What the namespace says, whose ``entry`` is None if it is to be asked for."""
        name = attributes.namespace
        entry = entry or await self._backend.current(Ref(NAMESPACES, name=name), attributes.request.deadline)
        if entry is None:
            raise refused(attributes, f"failed to lookup namespace {name}")
        found = policy_of(entry.labels, self._configuration.default)
        if causes := list(label_causes(entry.labels)):
            words = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
            attributes.request.annotate(f"{PREFIX}error", f"Failed to parse policy: {words}")
        return found

    async def _validate_namespace(self, attributes: Attributes) -> None:
        new, old = (found.metadata.labels if found is not None else {} for found in (attributes.obj, attributes.old))
        causes = list(label_causes(new))
        if causes and causes != list(label_causes(old)):
            raise invalid("Namespace", attributes.name, causes)
        if attributes.old is None or attributes.name in self._configuration.namespaces:
            return
        wanted, former = (policy_of(labels, self._configuration.default).enforce for labels in (new, old))
        relaxed = wanted.version == former.version and LEVELS.index(wanted.level) <= LEVELS.index(former.level)
        if wanted.level != PRIVILEGED and not relaxed:
            await self._warn_of_pods(attributes, wanted)

    async def _warn_of_pods(self, attributes: Attributes, wanted: Standard) -> None:
        """Says which pods that are there would not be let in now; the first of those that err in the same way is named."""
        request, prefix = attributes.request, collection_prefix(PODS, attributes.name)
        entries = self._backend.cache.collection(PODS).listing(prefix)
        erring: dict[str, list[str]] = {}
        looked = containers = 0
        for entry in entries.first(MAX_PODS):
            pod = entry.seen
            subject = Subject(pod.metadata.annotations, pod.spec)
            before, containers = containers, containers + max(len(subject.containers), 1)
            if containers > MAX_CONTAINERS:
                break
            looked += 1
            if containers // AT_ONCE != before // AT_ONCE:
                await asyncio.sleep(0)
            if pod.spec.runtime_class_name in self._configuration.runtime_classes:
                continue
            if found := violations(wanted, subject):
                erring.setdefault(found.reasons, []).append(entry.name)
        if len(entries) > looked:
            request.warn(f"new PodSecurity enforce level only checked against the first {looked} of {len(entries)} existing pods")
        if erring:
            request.warn(f'existing pods in namespace "{attributes.name}" violate the new PodSecurity enforce level "{wanted}"')
        for told in sorted(f"{_named(names)}: {reasons}" for reasons, names in erring.items()):
            request.warn(told)


def _judge(attributes: Attributes, policy: Policy, pod: Subject, *, enforced: bool) -> None:
    """Raises Forbidden for what is enforced; tells the audit log and the caller of the rest."""
    known: dict[Standard, Violations] = {}

    def found(standard: Standard) -> Violations:
        if standard not in known:
            known[standard] = violations(standard, pod)
        return known[standard]

    request = attributes.request
    if enforced:
        request.annotate(f"{PREFIX}enforce-policy", str(policy.enforce))
    if wrong := found(policy.audit):
        request.annotate(f"{PREFIX}audit-violations", f'would violate PodSecurity "{policy.audit}": {wrong.details}')
    if enforced and (wrong := found(policy.enforce)):
        raise refused(attributes, f'violates PodSecurity "{policy.enforce}": {wrong.details}')
    if wrong := found(policy.warn):
        request.warn(f'would violate PodSecurity "{policy.warn}": {wrong.details}')


def _template(obj: Any) -> Any:
    if isinstance(obj, core.PodTemplate):
        return obj.template
    return obj.spec.job_template.spec.template if isinstance(obj, batch.CronJob) else obj.spec.template


def _named(names: list[str]) -> str:
    others = len(names) - 1
    return names[0] if not others else f"{names[0]} (and {others} other {'pod' if others == 1 else 'pods'})"
