"""Every pod runs as a ServiceAccount of its namespace that exists, and gets the account's pull secrets and a token.

Specified by Kubernetes' plugin of the same name. No token is mounted where the API server issues none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.pods import MIRROR, ephemeral_containers
from knarr.objects.references import secret_names
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.refusals import refused
from services.apiserver.admission.service_account.token_volume import is_wanted, mount_token
from services.apiserver.backend import Backend
from services.apiserver.entry import Entry
from services.apiserver.results import Ref

POD, ACCOUNT = version_of(core.Pod), version_of(core.ServiceAccount)
DEFAULT = "default"
EPHEMERAL = "ephemeralcontainers"
ENFORCE = "kubernetes.io/enforce-mountable-secrets"
# What Go's strconv.ParseBool takes for true.
TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
# How often the default account is looked for, and between which bounds the pause between lies.
ATTEMPTS, PAUSE_SECONDS = 10, (0.1, 0.2)


class ServiceAccount:
    """Acts when a pod is created; one that is stored keeps the account that it has, or none, and what is added to it is held to that."""

    name: ClassVar[str] = "ServiceAccount"

    def __init__(self, backend: Backend, *, mounts_tokens: bool = False) -> None:
        self._backend, self._mounts_tokens = backend, mounts_tokens

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return resource is POD.resource and (operation, subresource) in ((CREATE, ""), (UPDATE, EPHEMERAL))

    async def mutate(self, attributes: Attributes) -> bool:
        pod: core.Pod = attributes.obj
        if attributes.operation != CREATE:
            return False
        if _is_mirror(pod):
            _check_mirror(attributes, pod)
            return False
        spec = pod.spec
        account = await self._account(attributes, spec.service_account_name or DEFAULT)
        changed = not spec.service_account_name
        spec.service_account_name = account.metadata.name
        if account.image_pull_secrets and not spec.image_pull_secrets:
            spec.image_pull_secrets.MergeFrom(account.image_pull_secrets)
            changed = True
        _check_secrets(attributes, spec, account)
        if self._mounts_tokens and is_wanted(spec, account):
            changed = mount_token(spec, self._backend.source) or changed
        return changed

    async def validate(self, attributes: Attributes) -> None:
        """Looks once more: plugins behind this one may have changed what ``mutate`` saw."""
        pod: core.Pod = attributes.obj
        name = pod.spec.service_account_name
        if attributes.operation != CREATE:
            if name:
                added = core.PodSpec(ephemeral_containers=pod.spec.ephemeral_containers)
                _check_secrets(attributes, added, await self._account(attributes, name))
            return
        if _is_mirror(pod):
            _check_mirror(attributes, pod)
            return
        if not name:
            raise refused(attributes, f"no service account specified for pod {attributes.namespace}/{pod.metadata.name}")
        _check_secrets(attributes, pod.spec, await self._account(attributes, name))

    async def _account(self, attributes: Attributes, name: str) -> core.ServiceAccount:
        """The account, only to be read. Raises Forbidden when there is none."""
        ref = Ref(ACCOUNT, attributes.namespace, name)
        entry = await self._backend.current(ref, attributes.request.deadline)
        if entry is None and name == DEFAULT:
            entry = await self._default_account(attributes, ref)
        if entry is None:
            detail = f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found'
            raise refused(attributes, detail)
        account: core.ServiceAccount = entry.shared_message
        return account

    async def _default_account(self, attributes: Attributes, ref: Ref) -> Entry | None:
        """A controller makes it in each new namespace: a pod that comes first waits a little, as in Kubernetes."""
        pause = self._backend.source.uniform(*PAUSE_SECONDS)
        for _ in range(ATTEMPTS - 1):
            await asyncio.sleep(pause)
            entry = await self._backend.current(ref, attributes.request.deadline)
            if entry is not None:
                return entry
        return None


def _is_mirror(pod: core.Pod) -> bool:
    """Whether a node shows one of its own pods; its spec stays as the node knows it."""
    return MIRROR in pod.metadata.annotations


def _check_mirror(attributes: Attributes, pod: core.Pod) -> None:
    """Raises Forbidden for one that would read what is the cluster's."""
    if pod.spec.service_account_name:
        raise refused(attributes, "a mirror pod may not reference service accounts")
    if secret_names(pod):
        raise refused(attributes, "a mirror pod may not reference secrets")
    if any(source.HasField("service_account_token") for volume in pod.spec.volumes for source in volume.volume_source.projected.sources):
        raise refused(attributes, "a mirror pod may not use ServiceAccountToken volume projections")


def _check_secrets(attributes: Attributes, spec: core.PodSpec, account: core.ServiceAccount) -> None:
    """Raises Forbidden for a use of a Secret that the account does not list, if it says that its pods may use no others."""
    if account.metadata.annotations.get(ENFORCE) not in TRUE:
        return
    for use, listed_as in _foreign_secrets(spec, account):
        detail = f"{use} is not allowed because service account {account.metadata.name} does not reference that {listed_as}"
        raise refused(attributes, detail)


def _foreign_secrets(spec: core.PodSpec, account: core.ServiceAccount) -> Iterator[tuple[str, str]]:
    """Each use of a Secret that is not listed, and what it is called there; the same uses as Kubernetes looks at."""
    mountable, pulling = ({reference.name for reference in listed} for listed in (account.secrets, account.image_pull_secrets))
    for volume in spec.volumes:
        name = volume.volume_source.secret.secret_name
        if volume.volume_source.HasField("secret") and name not in mountable:
            yield f'volume with secret.secretName="{name}"', "secret"
    added = ephemeral_containers(spec)
    for kind, containers in (("init container", spec.init_containers), ("container", spec.containers), ("ephemeral container", added)):
        for container in containers:
            for variable in container.env:
                name = variable.value_from.secret_key_ref.local_object_reference.name
                if variable.value_from.HasField("secret_key_ref") and name not in mountable:
                    yield f'{kind} {container.name} with envVar {variable.name} referencing secret.secretName="{name}"', "secret"
            for source in container.env_from:
                name = source.secret_ref.local_object_reference.name
                if source.HasField("secret_ref") and name not in mountable:
                    yield f'{kind} {container.name} with envFrom referencing secret.secretName="{name}"', "secret"
    for index, reference in enumerate(spec.image_pull_secrets):
        if reference.name not in pulling:
            yield f'imagePullSecrets[{index}].name="{reference.name}"', "imagePullSecret"
