"""Endpoints, policies, ways in and addresses: discovery.k8s.io and networking.k8s.io."""

from __future__ import annotations

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.discovery.v1beta1 import discovery_pb2 as discovery_v1beta1
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.api.networking.v1beta1 import networking_pb2 as networking_v1beta1
from knarr.machinery.catalog.parts import STATUS, retired, v1
from knarr.machinery.conversions.ingresses import INGRESS_V1BETA1
from knarr.machinery.conversions.retired import DISCOVERY_V1BETA1
from knarr.machinery.resources import Resource

GROUP = "networking.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "endpointslices",
        (
            v1("discovery.k8s.io", discovery.EndpointSlice, discovery.EndpointSliceList),
            retired(
                "discovery.k8s.io",
                "v1beta1",
                discovery_v1beta1.EndpointSlice,
                discovery_v1beta1.EndpointSliceList,
                DISCOVERY_V1BETA1,
                since="1.21",
                until="1.25",
            ),
        ),
    ),
    Resource("networkpolicies", (v1(GROUP, networking.NetworkPolicy, networking.NetworkPolicyList),), short_names=("netpol",)),
    Resource(
        "ingresses",
        (
            v1(GROUP, networking.Ingress, networking.IngressList),
            retired(
                GROUP,
                "v1beta1",
                networking_v1beta1.Ingress,
                networking_v1beta1.IngressList,
                INGRESS_V1BETA1,
                since="1.19",
                until="1.22",
            ),
        ),
        short_names=("ing",),
        key="ingress",
        subresources=(STATUS,),
    ),
    Resource(
        "ingressclasses",
        (v1(GROUP, networking.IngressClass, networking.IngressClassList),),
        namespaced=False,
        formerly=(f"{GROUP}/v1beta1",),
    ),
    Resource("ipaddresses", (v1(GROUP, networking.IPAddress, networking.IPAddressList),), namespaced=False, short_names=("ip",)),
    Resource(
        "servicecidrs",
        (v1(GROUP, networking.ServiceCIDR, networking.ServiceCIDRList),),
        namespaced=False,
        subresources=(STATUS,),
    ),
)
