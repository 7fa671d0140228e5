"""The search finds devices if and only if an oracle that tries everything does, and what it finds obeys all rules."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.resource.v1 import resource_pb2 as resource
from services.scheduler.plugins.dynamicresources.inventory import Inventory
from services.scheduler.plugins.dynamicresources.search import Effort, Failed, Search
from services.scheduler.plugins.dynamicresources.wishes import wish_of
from tests.scheduler import device_oracle as oracle
from tests.scheduler.devices import NODE, claims, device_classes, racks
from tests.scheduler.objects import Objects, node


def found_on(rack: oracle.Rack, wanted: Any, inventory: Inventory | None = None) -> Any:
    """Of each request of each claim its alternative and its devices; None where there are none."""
    known = inventory or Inventory()
    known.refresh(rack.slices, (), rack.allocated)
    wishes = [wish_of(claim, Objects(*device_classes())) for claim in wanted]
    try:
        results = Search(known, known.pools(node(NODE)), wishes, Effort(100_000)).run()
    except Failed:
        return None
    chosen = []
    for claim, devices in zip(wanted, results, strict=True):
        picked = []
        for request in claim.spec.devices.requests:
            names = [name for name, _ in oracle.alternatives(request)]
            mine = [one for one in devices if one.alternative.request == request.name]
            assert len({one.alternative.name for one in mine}) == 1
            picked.append((names.index(mine[0].alternative.name), tuple(one.device.id for one in mine)))
        chosen.append(tuple(picked))
    return chosen


@given(racks(), claims())
@settings(max_examples=600, deadline=None)
def test_it_finds_what_there_is(rack: oracle.Rack, wanted: list[resource.ResourceClaim]) -> None:
    chosen = found_on(rack, wanted)
    possible = (choice for choice in oracle.choices(rack, wanted, NODE) if oracle.is_right(rack, wanted, choice))
    if chosen is None:
        assert next(possible, None) is None
    else:
        assert chosen in oracle.choices(rack, wanted, NODE)
        assert oracle.is_right(rack, wanted, chosen)


@given(st.lists(racks(), min_size=2, max_size=4), claims())
@settings(max_examples=100, deadline=None)
def test_an_inventory_that_was_kept_is_as_a_new_one(seen: list[oracle.Rack], wanted: list[resource.ResourceClaim]) -> None:
    kept = Inventory()
    for rack in seen:
        assert found_on(rack, wanted, kept) == found_on(rack, wanted)
