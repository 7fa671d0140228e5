"""Which resources the page follows, and in which form it asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

WHOLE = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Followed:
    """``name`` is the plural; ``remembered``: its changes are part of the timeline. ``secret``: nothing but metadata is asked for.
    ``namespaced``: each is of a namespace."""

    group: str
    name: str
    remembered: bool = True
    secret: bool = False
    namespaced: bool = True

    @property
    def path(self) -> str:
        """Of all its objects, in all namespaces."""
        return f"{self._root}/{self.name}"

    def path_in(self, namespace: str) -> str:
        """Of those in one namespace."""
        return f"{self._root}/namespaces/{quote(namespace, safe='')}/{self.name}"

    @property
    def _root(self) -> str:
        return f"/apis/{self.group}" if "/" in self.group else f"/api/{self.group}"

    @property
    def list_form(self) -> str:
        return METADATA_LIST if self.secret else WHOLE

    @property
    def watch_form(self) -> str:
        return METADATA if self.secret else WHOLE


FOLLOWED = (
    Followed("v1", "nodes", namespaced=False),
    Followed("v1", "namespaces", namespaced=False),
    Followed("v1", "pods"),
    Followed("v1", "services"),
    Followed("discovery.k8s.io/v1", "endpointslices"),
    Followed("apps/v1", "deployments"),
    Followed("apps/v1", "replicasets"),
    Followed("apps/v1", "daemonsets"),
    Followed("apps/v1", "statefulsets"),
    Followed("batch/v1", "jobs"),
    Followed("batch/v1", "cronjobs"),
    Followed("networking.k8s.io/v1", "networkpolicies"),
    Followed("v1", "configmaps"),
    Followed("v1", "secrets", secret=True),
    # They are told by themselves when something happened, and expire after an hour.
    Followed("v1", "events", remembered=False),
)
