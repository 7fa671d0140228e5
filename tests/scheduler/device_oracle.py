"""Which devices a pod's claims may have on a node, by a plain reading of Kubernetes' documentation: every choice is tried, whole, and then
judged by all rules at once. Slow, and without the scheduler's own code."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as resource

Id = tuple[str, str, str]
# For each request of each claim: which alternative, and which devices.
Choice = tuple[tuple[int, tuple[Id, ...]], ...]


@dataclass(frozen=True)
class Rack:
    """The slices that there are, the claims that have devices, and for each class which attribute ``kind`` it wants."""

    slices: Sequence[resource.ResourceSlice]
    allocated: Sequence[resource.ResourceClaim]
    classes: dict[str, str] = field(default_factory=dict)

    def pools(self) -> dict[tuple[str, str], list[resource.ResourceSlice]]:
        found: dict[tuple[str, str], list[resource.ResourceSlice]] = {}
        for one in self.slices:
            found.setdefault((one.spec.driver, one.spec.pool.name), []).append(one)
        newest = {}
        for name, slices in found.items():
            generation = max(one.spec.pool.generation for one in slices)
            newest[name] = [one for one in slices if one.spec.pool.generation == generation]
        return newest

    def usable(self, node: str) -> tuple[dict[Id, resource.Device], bool]:
        """The devices that the node may use, and whether all its pools are whole."""
        found: dict[Id, resource.Device] = {}
        whole = True
        for (driver, pool), slices in self.pools().items():
            reached = {
                (driver, pool, device.name): device
                for one in slices
                for device in one.spec.devices
                if reaches(one.spec, node) or (one.spec.per_device_node_selection and reaches(device, node))
            }
            if reached and len(slices) != slices[0].spec.pool.resource_slice_count:
                whole = False
            else:
                found.update(reached)
        return found, whole

    def everything(self) -> dict[Id, resource.Device]:
        return {
            (driver, pool, device.name): device
            for (driver, pool), slices in self.pools().items()
            for one in slices
            for device in one.spec.devices
        }


def reaches(said: Any, node: str) -> bool:
    return bool(said.node_name == node or said.all_nodes)


def alternatives(request: resource.DeviceRequest) -> list[tuple[str, Any]]:
    if request.HasField("exactly"):
        return [(request.name, request.exactly)]
    return [(f"{request.name}/{one.name}", one) for one in request.first_available]


def suits(rack: Rack, wanted: Any, device: resource.Device) -> bool:
    """Selectors here ask for an ``model`` alone, classes for a ``kind``."""
    kind = rack.classes[wanted.device_class_name]
    models = [selector.cel.expression.rpartition("== ")[2].strip('"') for selector in wanted.selectors]
    if kind and device.attributes["kind"].string != kind:
        return False
    # Who reads what is not there puts it there.
    return not models or ("model" in device.attributes and all(device.attributes["model"].string == model for model in models))


def tolerated(wanted: Any, device: resource.Device) -> bool:
    return all(
        taint.effect == "None" or any(found.key == taint.key and found.operator == "Exists" for found in wanted.tolerations)
        for taint in device.taints
    )


def choices(rack: Rack, claims: Sequence[resource.ResourceClaim], node: str) -> Iterator[list[Choice]]:
    devices, whole = rack.usable(node)
    every = [request for claim in claims for request in claim.spec.devices.requests]
    asks_for_all = any(wanted.allocation_mode == "All" for request in every for _, wanted in alternatives(request))
    if asks_for_all and not whole:
        return
    per_request = []
    for request in every:
        options: list[tuple[int, tuple[Id, ...]]] = []
        for at, (_, wanted) in enumerate(alternatives(request)):
            suiting = [name for name, device in devices.items() if suits(rack, wanted, device) and gives(wanted, device) is not None]
            if wanted.allocation_mode == "All":
                options += [(at, tuple(suiting))] if suiting else []
            else:
                options += [(at, found) for found in itertools.combinations(suiting, wanted.count or 1)]
        per_request.append(options)
    for picked in itertools.product(*per_request):
        rest = iter(picked)
        yield [tuple(next(rest) for _ in claim.spec.devices.requests) for claim in claims]


def gives(wanted: Any, device: resource.Device) -> int | None:
    """How much of the capacity ``memory``, in whole units, a request takes; 0 of a device that has none of it."""
    asked = int(wanted.capacity.requests["memory"].string) if "memory" in wanted.capacity.requests else None
    if "memory" not in device.capacity:
        return None if asked is not None else 0
    offered = device.capacity["memory"]
    total, policy = int(offered.value.string), offered.request_policy
    if asked is None:
        return int(policy.default.string) if policy.HasField("default") else total
    if policy.HasField("valid_range"):
        least, step = int(policy.valid_range.min.string), int(policy.valid_range.step.string)
        while least < asked:
            least += step
        asked = least
    return asked if asked <= total else None


def is_right(rack: Rack, claims: Sequence[resource.ResourceClaim], chosen: Sequence[Choice]) -> bool:
    """Whether a choice obeys all rules; in which order devices are taken makes no difference here."""
    devices = rack.everything()
    taken: Counter[Id] = Counter()
    memory: Counter[Id] = Counter()
    for claim in rack.allocated:
        for result in claim.status.allocation.devices.results:
            name = result.driver, result.pool, result.device
            if result.share_id:
                memory[name] += int(result.consumed_capacity["memory"].string)
            elif not result.admin_access:
                taken[name] += 1
    before = {*taken, *memory}
    for claim, choice in zip(claims, chosen, strict=True):
        in_claim: Counter[Id] = Counter()
        for request, (at, names) in zip(claim.spec.devices.requests, choice, strict=True):
            _, wanted = alternatives(request)[at]
            for name in names:
                device = devices[name]
                if not tolerated(wanted, device):
                    return False
                in_claim[name] += 1
                looks = request.HasField("exactly") and wanted.admin_access
                if device.allow_multiple_allocations and looks:
                    continue
                if device.allow_multiple_allocations:
                    amount = gives(wanted, device)
                    assert amount is not None
                    memory[name] += amount
                elif in_claim[name] > 1:
                    return False
                elif not looks:
                    taken[name] += 1
        if sum(len(names) for _, names in choice) > 32 or not constraints_hold(claim, choice, devices):
            return False
    if any(count > 1 for count in taken.values()):
        return False
    if any(amount > int(devices[name].capacity["memory"].value.string) for name, amount in memory.items() if name in devices):
        return False
    return counters_suffice(rack, before, {*taken, *memory})


def constraints_hold(claim: resource.ResourceClaim, choice: Choice, devices: dict[Id, resource.Device]) -> bool:
    for constraint in claim.spec.devices.constraints:
        attribute = (constraint.match_attribute or constraint.distinct_attribute).rpartition("/")[2]
        values = []
        for request, (at, names) in zip(claim.spec.devices.requests, choice, strict=True):
            if constraint.requests and not {request.name, alternatives(request)[at][0]} & set(constraint.requests):
                continue
            for name in names:
                if attribute not in devices[name].attributes:
                    return False
                values.append(devices[name].attributes[attribute].string)
        if constraint.match_attribute and len(set(values)) > 1:
            return False
        if constraint.distinct_attribute and len(set(values)) < len(values):
            return False
    return True


def counters_suffice(rack: Rack, before: set[Id], used: set[Id]) -> bool:
    """Of what is newly used, that is: what was had already may have been too much."""
    for (driver, pool), slices in rack.pools().items():
        left: Counter[tuple[str, str]] = Counter()
        new: set[tuple[str, str]] = set()
        for one in slices:
            for counters in one.spec.shared_counters:
                for name, counter in counters.counters.items():
                    left[counters.name, name] += int(counter.value.string)
        for one in slices:
            for device in one.spec.devices:
                device_id = driver, pool, device.name
                for consumed in device.consumes_counters if device_id in used else ():
                    for key, counter in consumed.counters.items():
                        left[consumed.counter_set, key] -= int(counter.value.string)
                        if device_id not in before:
                            new.add((consumed.counter_set, key))
        if any(left[key] < 0 for key in new):
            return False
    return True
