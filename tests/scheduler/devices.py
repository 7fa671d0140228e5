"""Random racks of devices, and claims to them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from knarr.api.resource.v1 import resource_pb2 as resource
from tests.scheduler.device_oracle import Rack

DRIVER, NODE = "cards.example.com", "n0"
CLASSES = {"any": "", "fast": "fast", "slow": "slow"}


def device_class(name: str, kind: str = "") -> resource.DeviceClass:
    made = resource.DeviceClass()
    made.metadata.name = name
    if kind:
        made.spec.selectors.add().cel.expression = f'device.attributes["{DRIVER}"].kind == "{kind}"'
    return made


def device_classes() -> list[resource.DeviceClass]:
    return [device_class(name, kind) for name, kind in CLASSES.items()]


def slice_of(name: str, pool: str = "p", node: str = NODE, *, count: int = 1, generation: int = 1) -> resource.ResourceSlice:
    made = resource.ResourceSlice()
    made.metadata.name = name
    made.spec.driver, made.spec.pool.name = DRIVER, pool
    made.spec.pool.generation, made.spec.pool.resource_slice_count = generation, count
    if node:
        made.spec.node_name = node
    else:
        made.spec.all_nodes = True
    return made


def add_device(to: resource.ResourceSlice, name: str, kind: str = "fast", model: str = "a", **more: Any) -> resource.Device:
    made = to.spec.devices.add(name=name, **more)
    made.attributes["kind"].string, made.attributes["model"].string = kind, model
    return made


def claim_of(name: str = "c", uid: str = "") -> resource.ResourceClaim:
    made = resource.ResourceClaim()
    made.metadata.name, made.metadata.namespace, made.metadata.uid = name, "default", uid or f"uid-{name}"
    return made


def give(claim: resource.ResourceClaim, device: str, pool: str = "p", **more: Any) -> Any:
    return claim.status.allocation.devices.results.add(request="r", driver=DRIVER, pool=pool, device=device, **more)


@st.composite
def racks(draw: Any) -> Rack:
    """Two pools of a few devices: one of the node's, one that all reach, in parts of which counters are used."""
    slices = []
    number = 0
    for pool, node in (("p", NODE), ("q", "")):
        generation = draw(st.sampled_from([1, 1, 2]))
        made = slice_of(f"{pool}-devices", pool, node, count=draw(st.sampled_from([1, 1, 1, 1, 2])), generation=generation)
        if draw(st.booleans()):
            made.spec.pool.resource_slice_count += 1
            counting = slice_of(f"{pool}-counters", pool, node, count=made.spec.pool.resource_slice_count, generation=generation)
            counting.spec.shared_counters.add(name="all").counters["slots"].value.string = draw(st.sampled_from(["1", "2", "3"]))
            slices.append(counting)
        for _ in range(draw(st.integers(0, 3))):
            found = add_device(made, f"d{number}", draw(st.sampled_from(["fast", "slow"])), draw(st.sampled_from(["a", "b"])))
            number += 1
            if draw(st.integers(0, 3)) == 0:
                del found.attributes["model"]
                found.attributes["other"].string = "x"
            if draw(st.integers(0, 3)) == 0:
                found.taints.add(key=draw(st.sampled_from(["broken", "busy"])), effect=draw(st.sampled_from(["NoSchedule", "None"])))
            if len(slices) and slices[-1].spec.pool.name == pool and draw(st.booleans()):
                found.consumes_counters.add(counter_set="all").counters["slots"].value.string = draw(st.sampled_from(["1", "2"]))
            if draw(st.integers(0, 2)) == 0:
                found.allow_multiple_allocations = True
                offered = found.capacity["memory"]
                offered.value.string = draw(st.sampled_from(["4", "8"]))
                if draw(st.booleans()):
                    offered.request_policy.default.string = "2"
                    offered.request_policy.valid_range.min.string = "2"
                    offered.request_policy.valid_range.step.string = "2"
        slices.append(made)
    if draw(st.booleans()):
        # Of before: nothing of it counts.
        slices.append(slice_of("p-old", "p", NODE, generation=0))
        add_device(slices[-1], "old")
    allocated = []
    for at, one in enumerate([device for made in slices for device in made.spec.devices][: draw(st.integers(0, 2))]):
        claim = claim_of(f"had{at}")
        pool = next(made.spec.pool.name for made in slices if one in made.spec.devices)
        result = give(claim, one.name, pool)
        if one.allow_multiple_allocations:
            result.share_id, result.consumed_capacity["memory"].string = f"share-{at}", "2"
        elif draw(st.integers(0, 2)) == 0:
            result.admin_access = True
        allocated.append(claim)
    return Rack(slices, allocated, CLASSES)


@st.composite
def wanted(draw: Any, into: Any) -> None:
    into.device_class_name = draw(st.sampled_from(["any", "any", "fast", "slow"]))
    into.allocation_mode = draw(st.sampled_from(["ExactCount", "ExactCount", "ExactCount", "All"]))
    if into.allocation_mode == "ExactCount":
        into.count = draw(st.sampled_from([1, 1, 2]))
    if draw(st.integers(0, 3)) == 0:
        model = draw(st.sampled_from(["a", "b"]))
        into.selectors.add().cel.expression = f'device.attributes["{DRIVER}"].?model.orValue("") == "{model}"'
    if draw(st.booleans()):
        into.tolerations.add(key=draw(st.sampled_from(["broken", "busy"])), operator="Exists")
    if draw(st.integers(0, 4)) == 0:
        into.capacity.requests["memory"].string = draw(st.sampled_from(["1", "3", "5"]))


@st.composite
def claims(draw: Any) -> list[resource.ResourceClaim]:
    found = []
    for number in range(draw(st.integers(1, 2))):
        claim = claim_of(f"c{number}")
        for at in range(draw(st.integers(1, 2))):
            request = claim.spec.devices.requests.add(name=f"r{at}")
            if draw(st.integers(0, 2)) == 0:
                for other in range(2):
                    draw(wanted(request.first_available.add(name=f"s{other}")))
            else:
                draw(wanted(request.exactly))
                if draw(st.integers(0, 4)) == 0:
                    request.exactly.admin_access = True
        if draw(st.booleans()):
            constraint = claim.spec.devices.constraints.add(requests=draw(st.sampled_from([[], [], ["r0"], ["r0/s1"]])))
            attribute = f"{DRIVER}/{draw(st.sampled_from(['kind', 'model']))}"
            setattr(constraint, draw(st.sampled_from(["match_attribute", "distinct_attribute"])), attribute)
        found.append(claim)
    return found
