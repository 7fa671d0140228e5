"""What defines further resources: apiextensions.k8s.io, and apiregistration.k8s.io for those that other servers serve."""

from __future__ import annotations

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.machinery.catalog.parts import STATUS
from knarr.machinery.conversions.definitions import modern
from knarr.machinery.object_forms import JsonKeptForm
from knarr.machinery.resources import Resource, Version

APIEXTENSIONS, APIREGISTRATION = "apiextensions.k8s.io", "apiregistration.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "customresourcedefinitions",
        (
            Version(
                APIEXTENSIONS,
                "v1",
                "CustomResourceDefinition",
                apiextensions.CustomResourceDefinition,
                apiextensions.CustomResourceDefinitionList,
                form=JsonKeptForm(apiextensions.CustomResourceDefinition, (f"{APIEXTENSIONS}/v1", "CustomResourceDefinition"), modern),
            ),
        ),
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        key=f"{APIEXTENSIONS}/customresourcedefinitions",
        subresources=(STATUS,),
    ),
    Resource(
        "apiservices",
        (
            Version(
                APIREGISTRATION,
                "v1",
                "APIService",
                apiregistration.APIService,
                apiregistration.APIServiceList,
                form=JsonKeptForm(apiregistration.APIService, (f"{APIREGISTRATION}/v1", "APIService")),
            ),
        ),
        namespaced=False,
        categories=("api-extensions",),
        key=f"{APIREGISTRATION}/apiservices",
        formerly=(f"{APIREGISTRATION}/v1beta1",),
        subresources=(STATUS,),
    ),
)
