"""Which resources the page follows, and in which form it asks for them."""

from __future__ import annotations

from dataclasses import dataclass

WHOLE = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Followed:
    """``name`` is the plural; ``remembered``: its changes are part of the timeline. ``secret``: nothing but metadata is asked for."""

    group: str
    name: str
    remembered: bool = True
    secret: bool = False

    @property
    def path(self) -> str:
        """Of all its objects, in all namespaces."""
        return f"/apis/{self.group}/{self.name}" if "/" in self.group else f"/api/{self.group}/{self.name}"

    @property
    def list_form(self) -> str:
        return METADATA_LIST if self.secret else WHOLE

    @property
    def watch_form(self) -> str:
        return METADATA if self.secret else WHOLE


FOLLOWED = (
    Followed("v1", "nodes"),
    Followed("v1", "namespaces"),
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
