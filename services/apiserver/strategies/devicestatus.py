"""Rules about the status of a claim: the devices that it is given, and what drivers say of them. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_distinct,
    check_each,
    check_named,
    dns1123_label,
    duplicate,
    invalid,
    too_long,
    too_many,
)
from services.apiserver.strategies.conditions import validate_conditions
from services.apiserver.strategies.deviceclaims import (
    check_reference,
    check_references,
    check_settings,
    request_names,
    validate_device_tolerations,
    validate_free,
)
from services.apiserver.strategies.devicefacts import validate_binding
from services.apiserver.strategies.devicenames import validate_pool_name
from services.apiserver.strategies.volumes import check_driver_name

SOURCES = ("FromClaim", "FromClass")
MAX_CONDITIONS, MAX_SETTINGS, MAX_ADDRESSES = 8, 64, 16
LONGEST_INTERFACE, LONGEST_HARDWARE_ADDRESS = 256, 128
UID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
UID_LENGTHS = (32, 36, 38, 45)


def validate_allocated(given: devices.DeviceAllocationResult, claim: devices.DeviceClaim, path: Path) -> list[Cause]:
    """What a claim is given: for requests of its own, devices that there can be."""
    names, path = request_names(claim), path.child("devices")
    causes: list[Cause] = []
    for index, one in enumerate(given.results):
        here = path.child("results").index(index)
        causes += check_reference(here.child("request"), one.request, names) + _whose(one, here) + validate_binding(one, here)
        causes += validate_device_tolerations(one.tolerations, here.child("tolerations"))

    def check_config(config: devices.DeviceAllocationConfiguration, here: Path) -> list[Cause]:
        causes = check_choice(here.child("source"), config.source, SOURCES)
        return causes + check_references(here.child("requests"), config.requests, names) + check_settings(config.device_configuration, here)

    return causes + check_each(path.child("config"), given.config, MAX_SETTINGS, check_config)


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
        causes += validate_device_conditions(said.conditions, here.child("conditions"))
        causes += validate_free(said.data.raw, here.child("data")) if said.data.raw else []
        causes += _network(said.network_data, here.child("networkData"))
    return causes


def validate_device_conditions(conditions: Sequence[meta.Condition], path: Path) -> list[Cause]:
    if len(conditions) > MAX_CONDITIONS:
        return [too_many(path, len(conditions), MAX_CONDITIONS)]
    return validate_conditions(conditions, path)


def _network(data: devices.NetworkDeviceData, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    texts = (
        ("interfaceName", data.interface_name, LONGEST_INTERFACE),
        ("hardwareAddress", data.hardware_address, LONGEST_HARDWARE_ADDRESS),
    )
    for name, text, longest in texts:
        if len(text.encode()) > longest:
            causes.append(too_long(path.child(name), longest))
    here = path.child("ips")
    return causes + check_each(here, data.ips, MAX_ADDRESSES, _address) + check_distinct(here, data.ips[:MAX_ADDRESSES])


def _address(text: str, path: Path) -> list[Cause]:
    """An address with the length of its network behind it, written in the one way."""
    wrong = [invalid(path, text, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)")]
    if not re.fullmatch(r"[^/]+/\d{1,3}", text, re.ASCII):
        return wrong
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        return wrong
    return [] if str(found) == text else [invalid(path, text, f'must be in canonical form ("{found}")')]


def _identity(device: devices.DeviceRequestAllocationResult | devices.AllocatedDeviceStatus) -> tuple[str, ...]:
    return device.driver, device.pool, device.device, device.share_id


def _whose(device: devices.DeviceRequestAllocationResult | devices.AllocatedDeviceStatus, path: Path) -> list[Cause]:
    here = path.child("device")
    causes = check_driver_name(device.driver, path.child("driver")) + validate_pool_name(device.pool, path.child("pool"))
    causes += check_named(here, device.device, dns1123_label)
    return causes + (_uid(device.share_id, path.child("shareID")) if device.HasField("share_id") else [])


def _uid(text: str, path: Path) -> list[Cause]:
    if UID.fullmatch(text):
        return []
    if len(text) not in UID_LENGTHS:
        return [invalid(path, text, f"error validating uid: invalid UUID length: {len(text)}")]
    if not UID.search(text.lower()) and len(text) != min(UID_LENGTHS):
        return [invalid(path, text, "error validating uid: invalid UUID format")]
    form = "`xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
    return [invalid(path, text, f"uid must be in RFC 4122 normalized form, {form}")]
