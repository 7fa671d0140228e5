"""What is written into a claim's status of the devices that were found for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.node_selection import only_on
from services.scheduler.plugins.dynamicresources.search import Given

FROM_CLASS, FROM_CLAIM = "FromClass", "FromClaim"


def allocation(
    claim: resource.ResourceClaim, given: Sequence[Given], classes: Mapping[str, resource.DeviceClass], node: str
) -> resource.AllocationResult:
    """``classes`` by name; ``node`` is where the devices were found."""
    found = resource.AllocationResult()
    for one in given:
        _add_result(found, one, claim)
    found.devices.config.extend(_configuration(claim, given, classes))
    if (selector := _where(given, node)) is not None:
        found.node_selector.CopyFrom(selector)
    return found


def _add_result(found: resource.AllocationResult, given: Given, claim: resource.ResourceClaim) -> None:
    driver, pool, name = given.device.id
    wanted, device = given.alternative, given.device
    result = found.devices.results.add(request=wanted.name, driver=driver, pool=pool, device=name)
    if wanted.admin:
        result.admin_access = True
    result.tolerations.extend(_asked(claim, given).tolerations)
    result.binding_conditions.extend(device.message.binding_conditions)
    result.binding_failure_conditions.extend(device.message.binding_failure_conditions)
    if given.consumed is not None:
        result.share_id = str(uuid.uuid4())
        for full, amount in given.consumed.items():
            result.consumed_capacity[device.capacity[full].name].string = f"{amount.normalize():f}"


def _asked(claim: resource.ResourceClaim, given: Given) -> resource.ExactDeviceRequest | resource.DeviceSubRequest:
    wanted = given.alternative
    request = next(one for one in claim.spec.devices.requests if one.name == wanted.request)
    if wanted.name == wanted.request:
        return request.exactly
    return next(one for one in request.first_available if f"{wanted.request}/{one.name}" == wanted.name)


def _configuration(
    claim: resource.ResourceClaim, given: Sequence[Given], classes: Mapping[str, resource.DeviceClass]
) -> Iterable[resource.DeviceAllocationConfiguration]:
    """First what classes say, each once, then what the claim says; what is for all requests names none."""
    chosen = list(dict.fromkeys(one.alternative for one in given))
    every = len(claim.spec.devices.requests)
    for name in dict.fromkeys(one.device_class for one in chosen):
        requests = [one.name for one in chosen if one.device_class == name]
        for config in classes[name].spec.config:
            yield _config(FROM_CLASS, [] if len(requests) == every else requests, config.device_configuration)
    for own in claim.spec.devices.config:
        requests = list(own.requests)
        if not requests or any(one.is_named_in(requests) for one in chosen):
            yield _config(FROM_CLAIM, [] if len(requests) == every else requests, own.device_configuration)


def _config(source: str, requests: Iterable[str], said: resource.DeviceConfiguration) -> resource.DeviceAllocationConfiguration:
    return resource.DeviceAllocationConfiguration(source=source, requests=requests, device_configuration=said)


def _where(given: Iterable[Given], node: str) -> core.NodeSelector | None:
    """From where the devices can be used: one of a node keeps to that, others ask for labels; None means from everywhere."""
    fields: list[core.NodeSelectorRequirement] = []
    labels: list[core.NodeSelectorRequirement] = []
    for one in given:
        spec, message = one.device.slice.spec, one.device.message
        said = message if spec.per_device_node_selection else spec
        if said.node_name or message.binds_to_node:
            return only_on(node)
        for term in said.node_selector.node_selector_terms if said.HasField("node_selector") else ():
            fields += [asked for asked in term.match_fields if asked not in fields]
            labels += [asked for asked in term.match_expressions if asked not in labels]
    if not fields and not labels:
        return None
    selector = core.NodeSelector()
    selector.node_selector_terms.add(match_fields=fields, match_expressions=labels)
    return selector
