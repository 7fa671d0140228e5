"""Rules about the status of a claim: the devices that it is given, and what drivers say of them. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_choice, check_named, dns1123_label, duplicate, invalid, too_many
from services.apiserver.strategies.deviceclaims import (
    check_reference,
    check_references,
    check_settings,
    request_names,
    validate_device_tolerations,
)
from services.apiserver.strategies.devicefacts import validate_binding
from services.apiserver.strategies.devicenames import validate_pool_name
from services.apiserver.strategies.volumes import check_driver_name

SOURCES = ("FromClaim", "FromClass")
MAX_CONDITIONS = 8


def validate_allocated(given: devices.DeviceAllocationResult, claim: devices.DeviceClaim, path: Path) -> list[Cause]:
    """What a claim is given: for requests of its own, devices that there can be."""
    names, path = request_names(claim), path.child("devices")
    causes: list[Cause] = []
    for index, one in enumerate(given.results):
        here = path.child("results").index(index)
        causes += check_reference(here.child("request"), one.request, names) + _whose(one, here) + validate_binding(one, here)
        causes += validate_device_tolerations(one.tolerations, here.child("tolerations"))
    for index, config in enumerate(given.config):
        here = path.child("config").index(index)
        causes += check_choice(here.child("source"), config.source, SOURCES)
        causes += check_references(here.child("requests"), config.requests, names) + check_settings(config.device_configuration, here)
    return causes


def validate_device_statuses(status: devices.ResourceClaimStatus, path: Path) -> list[Cause]:
    """What drivers say of the devices that a claim has been given: of no others, and of each once."""
    given = {_identity(one) for one in status.allocation.devices.results}
    causes, seen = list[Cause](), set[tuple[str, ...]]()
    for index, said in enumerate(status.devices):
        here, identity = path.index(index), _identity(said)
        shown = "/".join(filter(None, identity))
        causes += _whose(said, here)
        if identity not in given:
            causes.append(invalid(here, shown, "must be an allocated device in the claim"))
        if identity in seen:
            causes.append(duplicate(here, shown))
        seen.add(identity)
        if len(said.conditions) > MAX_CONDITIONS:
            causes.append(too_many(here.child("conditions"), len(said.conditions), MAX_CONDITIONS))
    return causes


def _identity(device: devices.DeviceRequestAllocationResult | devices.AllocatedDeviceStatus) -> tuple[str, ...]:
    return device.driver, device.pool, device.device, device.share_id


def _whose(device: devices.DeviceRequestAllocationResult | devices.AllocatedDeviceStatus, path: Path) -> list[Cause]:
    here = path.child("device")
    causes = check_driver_name(device.driver, path.child("driver")) + validate_pool_name(device.pool, path.child("pool"))
    return causes + check_named(here, device.device, dns1123_label)
