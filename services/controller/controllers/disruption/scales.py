"""How many pods a controller wants, whatever its kind."""

from __future__ import annotations

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.client.store import Store
from knarr.machinery.errors import NotFound
from knarr.machinery.resources import Version
from knarr.objects.owners import controller_key, controller_of, group_of


class NoScale(Exception):
    """Nobody says how many pods are wanted."""


class Scales:
    """ReplicaSets and Deployments are read from local copies, all others through their ``scale``."""

    def __init__(self, client: Client, sets: Store[apps.ReplicaSet], deployments: Store[apps.Deployment]) -> None:
        self._client, self._sets, self._deployments = client, sets, deployments
        self._versions: dict[tuple[str, str], Version] = {}

    async def of(self, reference: meta.OwnerReference, namespace: str) -> tuple[str, int] | None:
        """The uid of who decides on the count, and the count; None when the controller is gone. Raises NoScale, StatusError."""
        if (group_of(reference.api_version), reference.kind) == ("apps", "ReplicaSet"):
            found = self._sets.get(namespace, reference.name)
            if found is not None and found.metadata.uid == reference.uid:
                return self._decider(found)
        version = await self._version(reference)
        if version.resource.subresource("scale") is None:
            raise NoScale(f"{version.qualified} does not implement the scale subresource")
        try:
            scale = await self._client.scale(version.message, reference.name, namespace)
        except NotFound:
            return None
        return (scale.metadata.uid, scale.spec.replicas) if scale.metadata.uid == reference.uid else None

    def _decider(self, replica_set: apps.ReplicaSet) -> tuple[str, int]:
        """Its Deployment, where it has one."""
        key, owner = controller_key(replica_set, apps.Deployment), controller_of(replica_set)
        deployment = None if key is None else self._deployments.get(*key)
        if deployment is not None and owner is not None and deployment.metadata.uid == owner.uid:
            return deployment.metadata.uid, deployment.spec.replicas
        return replica_set.metadata.uid, replica_set.spec.replicas

    async def _version(self, reference: meta.OwnerReference) -> Version:
        names = group_of(reference.api_version), reference.kind
        found = self._versions.get(names)
        if found is None or found.resource not in await self._client.resources():
            self._versions = {
                (version.group, version.kind): version for resource in await self._client.resources() for version in resource.versions
            }
            found = self._versions.get(names)
        if found is None:
            raise NoScale(f'no matches for kind "{reference.kind}" in version "{reference.api_version}"')
        return found
