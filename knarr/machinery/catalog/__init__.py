"""The built-in resources: data only, a file for each few groups.

Adding one is one entry there plus, where it has rules of its own, a strategy in the API server.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType

from google.protobuf.message import Message

from knarr.machinery.catalog import access, core, extensions, metrics, network, questions, storage, workloads
from knarr.machinery.catalog.parts import SCALE, STATUS
from knarr.machinery.resources import Registry, Resource, Version

__all__ = ["BUILT_IN", "RETIRED", "SCALE", "STATUS", "registry", "version_of"]

BUILT_IN: tuple[Resource, ...] = (
    *core.RESOURCES,
    *workloads.RESOURCES,
    *network.RESOURCES,
    *storage.RESOURCES,
    *access.RESOURCES,
    *extensions.RESOURCES,
    *questions.RESOURCES,
    *metrics.RESOURCES,
)

# The versions that Kubernetes serves no more, by ``apiVersion``.
RETIRED = MappingProxyType({version.api_version: version for resource in BUILT_IN for version in resource.versions if not version.served})
# Never changed: what a cluster serves in the end is its registry's affair.
_VERSIONS = MappingProxyType({version.message: version for resource in BUILT_IN for version in resource.versions})


def registry(revived: Collection[str] = ()) -> Registry:
    """A registry of the built-in resources, the caller's own to change. ``revived`` of RETIRED are served all the same."""
    return Registry(BUILT_IN, revived)


def version_of(message: type[Message]) -> Version:
    """The built-in version that has this message; raises KeyError when there is none."""
    return _VERSIONS[message]
