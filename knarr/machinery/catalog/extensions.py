"""What defines further resources: apiextensions.k8s.io."""

from __future__ import annotations

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.machinery.catalog.parts import STATUS, v1
from knarr.machinery.resources import Resource

APIEXTENSIONS = "apiextensions.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "customresourcedefinitions",
        (v1(APIEXTENSIONS, apiextensions.CustomResourceDefinition, apiextensions.CustomResourceDefinitionList),),
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        key=f"{APIEXTENSIONS}/customresourcedefinitions",
        subresources=(STATUS,),
    ),
)
