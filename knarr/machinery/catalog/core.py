"""The core group, and events, which are core's under a second name."""

from __future__ import annotations

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as events
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.catalog.parts import SCALE, STATUS, proxy, v1
from knarr.machinery.conversions.events import EVENTS_V1
from knarr.machinery.resources import STANDARD_VERBS, Resource, Route, Subresource, Version

ENDPOINTS_WARNING = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "namespaces",
        (v1("", core.Namespace, core.NamespaceList),),
        namespaced=False,
        short_names=("ns",),
        verbs=tuple(verb for verb in STANDARD_VERBS if verb != "deletecollection"),
        subresources=(STATUS, Subresource("finalize", verbs=("update",))),
    ),
    Resource(
        "nodes",
        (v1("", core.Node, core.NodeList),),
        namespaced=False,
        short_names=("no",),
        key="minions",
        subresources=(STATUS, proxy(core.NodeProxyOptions)),
    ),
    Resource(
        "pods",
        (v1("", core.Pod, core.PodList),),
        short_names=("po",),
        categories=("all",),
        subresources=(
            STATUS,
            Subresource("ephemeralcontainers"),
            Subresource("resize"),
            Subresource("binding", verbs=("create",), body=core.Binding, route=Route.CREATE),
            Subresource("eviction", verbs=("create",), body=policy.Eviction, route=Route.CREATE, formerly=("policy/v1beta1",)),
            Subresource("log", verbs=("get",), route=Route.STREAM, options=core.PodLogOptions),
            Subresource("exec", verbs=("create", "get"), body=core.PodExecOptions, route=Route.STREAM),
            Subresource("attach", verbs=("create", "get"), body=core.PodAttachOptions, route=Route.STREAM),
            Subresource("portforward", verbs=("create", "get"), body=core.PodPortForwardOptions, route=Route.STREAM),
            proxy(core.PodProxyOptions),
        ),
    ),
    Resource(
        "services",
        (v1("", core.Service, core.ServiceList),),
        short_names=("svc",),
        categories=("all",),
        key="services/specs",
        subresources=(STATUS, proxy(core.ServiceProxyOptions)),
    ),
    Resource(
        "endpoints",
        (v1("", core.Endpoints, core.EndpointsList, deprecation_warning=ENDPOINTS_WARNING),),
        short_names=("ep",),
        key="services/endpoints",
    ),
    Resource("configmaps", (v1("", core.ConfigMap, core.ConfigMapList),), short_names=("cm",)),
    Resource("secrets", (v1("", core.Secret, core.SecretList),)),
    Resource(
        "serviceaccounts",
        (v1("", core.ServiceAccount, core.ServiceAccountList),),
        short_names=("sa",),
        subresources=(Subresource("token", verbs=("create",), body=authentication.TokenRequest, route=Route.CREATE),),
    ),
    Resource(
        "events",
        (
            v1("", core.Event, core.EventList),
            Version("events.k8s.io", "v1", "Event", events.Event, events.EventList, EVENTS_V1),
        ),
        short_names=("ev",),
    ),
    Resource(
        "replicationcontrollers",
        (v1("", core.ReplicationController, core.ReplicationControllerList),),
        short_names=("rc",),
        categories=("all",),
        key="controllers",
        subresources=(STATUS, SCALE),
    ),
    Resource("podtemplates", (v1("", core.PodTemplate, core.PodTemplateList),)),
    Resource("limitranges", (v1("", core.LimitRange, core.LimitRangeList),), short_names=("limits",)),
    Resource("resourcequotas", (v1("", core.ResourceQuota, core.ResourceQuotaList),), short_names=("quota",), subresources=(STATUS,)),
    Resource(
        "persistentvolumes",
        (v1("", core.PersistentVolume, core.PersistentVolumeList),),
        namespaced=False,
        short_names=("pv",),
        subresources=(STATUS,),
    ),
    Resource(
        "persistentvolumeclaims",
        (v1("", core.PersistentVolumeClaim, core.PersistentVolumeClaimList),),
        short_names=("pvc",),
        subresources=(STATUS,),
    ),
)
