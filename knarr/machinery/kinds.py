"""The registry of kinds: one entry per kind, from which everything else is derived.

REST paths, discovery, OpenAPI, storage keys, the JSON codec's ``apiVersion``/``kind`` and the
typed clients all read this table. Adding a kind is one ``Kind`` entry here plus, where it has
rules of its own, a strategy in ``services/apiserver/strategies``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.networking.v1 import networking_pb2 as networking

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A sub-resource of a kind, as discovery announces it.

    ``group``, ``version`` and ``kind`` name its body; empty ``kind`` means the parent's own.
    """

    name: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    group: str = ""
    version: str = ""
    kind: str = ""


STATUS = Subresource("status")
SCALE = Subresource("scale", group="autoscaling", version="v1", kind="Scale")


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of object; compared by identity, because it is the key of much that is looked up on every request.

    ``group`` is empty for the core group. ``storage`` is the part of the etcd key after ``/registry/``;
    it follows Kubernetes' layout.
    """

    group: str
    version: str
    name: str
    plural: str
    message: type[Message]
    list_message: type[Message]
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    storage: str = ""
    verbs: tuple[str, ...] = STANDARD_VERBS
    subresources: tuple[Subresource, ...] = ()

    @property
    def api_version(self) -> str:
        """``v1`` or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.name.lower()

    @property
    def qualified(self) -> str:
        """The resource as error messages name it: ``pods``, ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage_prefix(self) -> str:
        """``/registry/pods/``: every key of this kind starts so."""
        return f"/registry/{self.storage or self.plural}/"

    def subresource(self, name: str) -> Subresource | None:
        return next((entry for entry in self.subresources if entry.name == name), None)


class Kinds:
    """The kinds of one cluster, found by message type, kind name or resource name."""

    def __init__(self, kinds: tuple[Kind, ...] = ()) -> None:
        self._by_message: dict[type[Message], Kind] = {}
        self._by_name: dict[tuple[str, str, str], Kind] = {}
        self._by_resource: dict[tuple[str, str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        """Registers a kind; raises ValueError when its resource is taken."""
        if (kind.group, kind.version, kind.plural) in self._by_resource:
            raise ValueError(f"{kind.qualified} {kind.version} is registered already")
        self._by_message[kind.message] = kind
        self._by_name[kind.group, kind.version, kind.name] = kind
        self._by_resource[kind.group, kind.version, kind.plural] = kind

    def by_message(self, message: type[Message]) -> Kind:
        """Raises KeyError for a message that is not a kind."""
        return self._by_message[message]

    def by_name(self, group: str, version: str, name: str) -> Kind | None:
        return self._by_name.get((group, version, name))

    def by_resource(self, group: str, version: str, plural: str) -> Kind | None:
        return self._by_resource.get((group, version, plural))

    def __contains__(self, message: type[Message]) -> bool:
        return message in self._by_message

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_resource.values())


KINDS = Kinds(
    (
        Kind(
            "",
            "v1",
            "Namespace",
            "namespaces",
            core.Namespace,
            core.NamespaceList,
            namespaced=False,
            short_names=("ns",),
            verbs=tuple(verb for verb in STANDARD_VERBS if verb != "deletecollection"),
            subresources=(STATUS, Subresource("finalize", verbs=("update",))),
        ),
        Kind(
            "",
            "v1",
            "Node",
            "nodes",
            core.Node,
            core.NodeList,
            namespaced=False,
            short_names=("no",),
            storage="minions",
            subresources=(STATUS,),
        ),
        Kind(
            "",
            "v1",
            "Pod",
            "pods",
            core.Pod,
            core.PodList,
            short_names=("po",),
            categories=("all",),
            subresources=(
                STATUS,
                Subresource("binding", verbs=("create",), version="v1", kind="Binding"),
                Subresource("eviction", verbs=("create",), group="policy", version="v1", kind="Eviction"),
                Subresource("log", verbs=("get",)),
                Subresource("exec", verbs=("create", "get"), version="v1", kind="PodExecOptions"),
            ),
        ),
        Kind(
            "",
            "v1",
            "Service",
            "services",
            core.Service,
            core.ServiceList,
            short_names=("svc",),
            categories=("all",),
            storage="services/specs",
            subresources=(STATUS,),
        ),
        Kind("", "v1", "Endpoints", "endpoints", core.Endpoints, core.EndpointsList, short_names=("ep",), storage="services/endpoints"),
        Kind("", "v1", "ConfigMap", "configmaps", core.ConfigMap, core.ConfigMapList, short_names=("cm",)),
        Kind("", "v1", "Secret", "secrets", core.Secret, core.SecretList),
        Kind("", "v1", "ServiceAccount", "serviceaccounts", core.ServiceAccount, core.ServiceAccountList, short_names=("sa",)),
        Kind("", "v1", "Event", "events", core.Event, core.EventList, short_names=("ev",)),
        Kind(
            "apps",
            "v1",
            "Deployment",
            "deployments",
            apps.Deployment,
            apps.DeploymentList,
            short_names=("deploy",),
            categories=("all",),
            subresources=(STATUS, SCALE),
        ),
        Kind(
            "apps",
            "v1",
            "ReplicaSet",
            "replicasets",
            apps.ReplicaSet,
            apps.ReplicaSetList,
            short_names=("rs",),
            categories=("all",),
            subresources=(STATUS, SCALE),
        ),
        Kind("apps", "v1", "ControllerRevision", "controllerrevisions", apps.ControllerRevision, apps.ControllerRevisionList),
        Kind("coordination.k8s.io", "v1", "Lease", "leases", coordination.Lease, coordination.LeaseList),
        Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", discovery.EndpointSlice, discovery.EndpointSliceList),
        Kind(
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "networkpolicies",
            networking.NetworkPolicy,
            networking.NetworkPolicyList,
            short_names=("netpol",),
        ),
    )
)
