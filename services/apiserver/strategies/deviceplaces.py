"""Rules about the nodes on which the devices of a slice can be used: all of them on the same ones, or each on its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT_LIST, Path, check_format, dns1123_subdomain, invalid, required
from services.apiserver.strategies.pod.scheduling import validate_node_selector

NAME, SELECTOR = {"node_name": "nodeName"}, {"node_selector": "nodeSelector"}
FLAGS = {"all_nodes": "allNodes"}
SLICE_FLAGS = {**FLAGS, "per_device_node_selection": "perDeviceNodeSelection"}
UNSET_OR_TRUE, UNSET_OR_NAMED = "must be either unset or set to true", "must be either unset or set to a non-empty string"
SLICE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
DEVICE_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)
OWN_NODES = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"


def validate_slice_places(spec: devices.ResourceSliceSpec, path: Path) -> list[Cause]:
    causes = _each(spec, SLICE_FLAGS, path, UNSET_OR_NAMED)
    count, here = len(spec.node_selector.node_selector_terms), path.child("nodeSelector", "nodeSelectorTerms")
    if spec.HasField("node_selector") and count != 1:
        # Whoever is given devices of several slices needs all their selectors at once: single terms can be joined.
        value = CUT_LIST if count else []
        causes.append(invalid(here, value, "must have exactly one node selector term"))
    return causes + _one(_given(spec, SLICE_FLAGS), path, SLICE_PLACE, f"{SLICE_PLACE}, but multiple fields are set")


def validate_device_places(device: devices.Device, path: Path, *, own: bool) -> list[Cause]:
    """``own``: the devices of its slice do not share them."""
    if not own:
        named = any(device.HasField(field) for field in (*NAME, *SELECTOR, *FLAGS))
        return [invalid(path, None, OWN_NODES)] if named else []
    return _each(device, FLAGS, path, "must not be empty") + _one(_given(device, FLAGS), path, DEVICE_PLACE, DEVICE_PLACE)


def _each(owner: devices.ResourceSliceSpec | devices.Device, flags: Mapping[str, str], path: Path, unnamed: str) -> list[Cause]:
    causes: list[Cause] = []
    if owner.HasField("node_name"):
        here = path.child("nodeName")
        causes += check_format(here, owner.node_name, dns1123_subdomain) if owner.node_name else [invalid(here, "", unnamed)]
    if owner.HasField("node_selector"):
        causes += validate_node_selector(owner.node_selector, path.child("nodeSelector"))
    refused = [name for field, name in flags.items() if owner.HasField(field) and not getattr(owner, field)]
    return causes + [invalid(path.child(name), False, UNSET_OR_TRUE) for name in refused]


def _given(owner: devices.ResourceSliceSpec | devices.Device, flags: Mapping[str, str]) -> list[str]:
    fields = {**NAME, **SELECTOR, **flags}
    return [f"`{name}`" for field, name in fields.items() if owner.HasField(field) and getattr(owner, field)]


def _one(given: list[str], path: Path, none: str, several: str) -> list[Cause]:
    if not given:
        return [required(path, none)]
    return [invalid(path, f"{{{', '.join(given)}}}", several)] if len(given) > 1 else []
