"""The built-in resources: data only. Adding one is one entry here plus, where it has rules of its own, a strategy in the API server."""

from __future__ import annotations

from types import MappingProxyType

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling_v2
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.events.v1 import events_pb2 as events
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.conversions.autoscaling import AUTOSCALING_V1
from knarr.machinery.conversions.events import EVENTS_V1
from knarr.machinery.resources import STANDARD_VERBS, Registry, Resource, Route, Subresource, Version

STATUS = Subresource("status")
ENDPOINTS_WARNING = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
SCALE = Subresource("scale", body=autoscaling.Scale)

BUILT_IN: tuple[Resource, ...] = (
    Resource(
        "namespaces",
        (Version("", "v1", "Namespace", core.Namespace, core.NamespaceList),),
        namespaced=False,
        short_names=("ns",),
        verbs=tuple(verb for verb in STANDARD_VERBS if verb != "deletecollection"),
        subresources=(STATUS, Subresource("finalize", verbs=("update",))),
    ),
    Resource(
        "nodes",
        (Version("", "v1", "Node", core.Node, core.NodeList),),
        namespaced=False,
        short_names=("no",),
        key="minions",
        subresources=(STATUS,),
    ),
    Resource(
        "pods",
        (Version("", "v1", "Pod", core.Pod, core.PodList),),
        short_names=("po",),
        categories=("all",),
        subresources=(
            STATUS,
            Subresource("binding", verbs=("create",), body=core.Binding, route=Route.CREATE),
            Subresource("eviction", verbs=("create",), body=policy.Eviction, route=Route.CREATE),
            Subresource("log", verbs=("get",), route=Route.STREAM),
            Subresource("exec", verbs=("create", "get"), body=core.PodExecOptions, route=Route.STREAM),
        ),
    ),
    Resource(
        "services",
        (Version("", "v1", "Service", core.Service, core.ServiceList),),
        short_names=("svc",),
        categories=("all",),
        key="services/specs",
        subresources=(STATUS,),
    ),
    Resource(
        "endpoints",
        (Version("", "v1", "Endpoints", core.Endpoints, core.EndpointsList, deprecation_warning=ENDPOINTS_WARNING),),
        short_names=("ep",),
        key="services/endpoints",
    ),
    Resource("configmaps", (Version("", "v1", "ConfigMap", core.ConfigMap, core.ConfigMapList),), short_names=("cm",)),
    Resource("secrets", (Version("", "v1", "Secret", core.Secret, core.SecretList),)),
    Resource("serviceaccounts", (Version("", "v1", "ServiceAccount", core.ServiceAccount, core.ServiceAccountList),), short_names=("sa",)),
    Resource(
        "events",
        (
            Version("", "v1", "Event", core.Event, core.EventList),
            Version("events.k8s.io", "v1", "Event", events.Event, events.EventList, EVENTS_V1),
        ),
        short_names=("ev",),
    ),
    Resource(
        "deployments",
        (Version("apps", "v1", "Deployment", apps.Deployment, apps.DeploymentList),),
        short_names=("deploy",),
        categories=("all",),
        subresources=(STATUS, SCALE),
    ),
    Resource(
        "replicasets",
        (Version("apps", "v1", "ReplicaSet", apps.ReplicaSet, apps.ReplicaSetList),),
        short_names=("rs",),
        categories=("all",),
        subresources=(STATUS, SCALE),
    ),
    Resource("controllerrevisions", (Version("apps", "v1", "ControllerRevision", apps.ControllerRevision, apps.ControllerRevisionList),)),
    Resource(
        "horizontalpodautoscalers",
        (
            Version(
                "autoscaling",
                "v2",
                "HorizontalPodAutoscaler",
                autoscaling_v2.HorizontalPodAutoscaler,
                autoscaling_v2.HorizontalPodAutoscalerList,
            ),
            Version(
                "autoscaling",
                "v1",
                "HorizontalPodAutoscaler",
                autoscaling.HorizontalPodAutoscaler,
                autoscaling.HorizontalPodAutoscalerList,
                AUTOSCALING_V1,
            ),
        ),
        short_names=("hpa",),
        categories=("all",),
        subresources=(STATUS,),
    ),
    Resource("leases", (Version("coordination.k8s.io", "v1", "Lease", coordination.Lease, coordination.LeaseList),)),
    Resource(
        "endpointslices",
        (Version("discovery.k8s.io", "v1", "EndpointSlice", discovery.EndpointSlice, discovery.EndpointSliceList),),
    ),
    Resource(
        "networkpolicies",
        (Version("networking.k8s.io", "v1", "NetworkPolicy", networking.NetworkPolicy, networking.NetworkPolicyList),),
        short_names=("netpol",),
    ),
)

# Never changed: what a cluster serves in the end is its registry's affair.
_VERSIONS = MappingProxyType({version.message: version for resource in BUILT_IN for version in resource.versions})


def registry() -> Registry:
    """A registry of the built-in resources, the caller's own to change."""
    return Registry(BUILT_IN)


def version_of(message: type[Message]) -> Version:
    """The built-in version that has this message; raises KeyError when there is none."""
    return _VERSIONS[message]
