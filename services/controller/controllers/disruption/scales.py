"""How many pods a controller wants, whatever its kind."""

from __future__ import annotations

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.client.store import Store
from knarr.machinery.errors import NotFound
from knarr.objects.owners import controller_key, controller_of, group_of
from services.controller.versions import NoVersion, Versions


class NoScale(Exception):
    """Nobody says how many pods are wanted."""


class Scales:
    """ReplicaSets and Deployments are read from local copies, all others through their ``scale``."""

    def __init__(self, client: Client, sets: Store[apps.ReplicaSet], deployments: Store[apps.Deployment]) -> None:
        self._client, self._sets, self._deployments = client, sets, deployments
        self._served = Versions(client)

    async def of(self, reference: meta.OwnerReference, namespace: str) -> tuple[str, int] | None:
        """The uid of who decides on the count, and the count; None when the controller is gone. Raises NoScale, StatusError."""
        if (group_of(reference.api_version), reference.kind) == ("apps", "ReplicaSet"):
            found = self._sets.get(namespace, reference.name)
            if found is not None and found.metadata.uid == reference.uid:
                return self._decider(found)
        group = group_of(reference.api_version)
        try:
            version = await self._served.of(group, reference.kind, reference.api_version)
        except NoVersion as error:
            raise NoScale(str(error)) from error
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
