"""Which ``apiVersion`` and ``kind`` a message type goes by."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from knarr.machinery.schema import is_object

# Proto package area → API group.
GROUPS = {
    "admission": "admission.k8s.io",
    "admissionregistration": "admissionregistration.k8s.io",
    "apidiscovery": "apidiscovery.k8s.io",
    "apiextensions": "apiextensions.k8s.io",
    "apiregistration": "apiregistration.k8s.io",
    "apps": "apps",
    "authentication": "authentication.k8s.io",
    "authorization": "authorization.k8s.io",
    "autoscaling": "autoscaling",
    "batch": "batch",
    "certificates": "certificates.k8s.io",
    "coordination": "coordination.k8s.io",
    "core": "",
    "discovery": "discovery.k8s.io",
    "events": "events.k8s.io",
    "flowcontrol": "flowcontrol.apiserver.k8s.io",
    "meta": "",
    "metrics": "metrics.k8s.io",
    "networking": "networking.k8s.io",
    "node": "node.k8s.io",
    "policy": "policy",
    "rbac": "rbac.authorization.k8s.io",
    "resource": "resource.k8s.io",
    "scheduling": "scheduling.k8s.io",
    "storage": "storage.k8s.io",
    "storagemigration": "storagemigration.k8s.io",
}
# Kinds without metadata of their own, which the rule below would not find.
BARE_KINDS = {
    "admission": {"AdmissionReview"},
    "apiextensions": {"ConversionReview"},
    "core": {
        "NodeProxyOptions", "PodAttachOptions", "PodExecOptions", "PodLogOptions", "PodPortForwardOptions", "PodProxyOptions",
        "RangeAllocation", "SerializedReference", "ServiceProxyOptions",
    },
    "meta": {
        "APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "ApplyOptions", "CreateOptions", "DeleteOptions", "GetOptions",
        "ListOptions", "PatchOptions", "UpdateOptions",
    },
}  # fmt: skip
# Kinds of the package meta/v1 that belong to a group rather than to ``v1``.
META_GROUP = "meta.k8s.io"
META_GROUP_KINDS = {"PartialObjectMetadata", "PartialObjectMetadataList", "TableOptions"}


@cache
def api_version_and_kind(message: Descriptor) -> tuple[str, str] | None:
    """``("apps/v1", "Deployment")``, or None for a message that is no kind."""
    prefix, _, rest = message.full_name.partition("knarr.api.")
    if prefix:
        # One of somebody else's contracts.
        return None
    area, version, *name = rest.split(".")
    if area not in GROUPS or len(name) != 1:
        return None
    if not is_object(message) and name[0] not in BARE_KINDS.get(area, ()) and name[0] != "TableOptions":
        return None
    group = META_GROUP if area == "meta" and name[0] in META_GROUP_KINDS else GROUPS[area]
    return (f"{group}/{version}" if group else version), name[0]


# To ask a class for what it does not have, and for its descriptor, takes longer than all else that is asked of a pod's owner.
_built_in: dict[type[Message], tuple[str, str]] = {}


def names_of(message: type[Message]) -> tuple[str, str]:
    """``("apps/v1", "Deployment")`` of a message type; raises TypeError for one that is no kind."""
    known = _built_in.get(message)
    if known is not None:
        return known
    # The classes of custom objects come and go; they have no descriptor, and say it themselves.
    names: tuple[str, str] | None = getattr(message, "names", None)
    if names is None:
        names = api_version_and_kind(message.DESCRIPTOR)
        if names is None:
            raise TypeError(f"{message.DESCRIPTOR.full_name} is no kind")
        _built_in[message] = names
    return names


@cache
def message_named(full_name: str) -> type[Message] | None:
    """The message type called ``knarr.api.apps.v1.Deployment``; None for one that is not built in."""
    parts = full_name.removeprefix("knarr.api.").split(".")
    if not full_name.startswith("knarr.api.") or len(parts) != 3 or parts[0] not in GROUPS:
        return None
    area, version, name = parts
    try:
        found = getattr(import_module(f"knarr.api.{area}.{version}.{area}_pb2"), name, None)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, Message) else None
