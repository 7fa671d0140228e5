"""When pods have to go because of the taints of their devices. Pure; specified by Kubernetes' device taint eviction controller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery.times import seconds_after, to_datetime
from knarr.objects.devices import taints_device, tolerates
from knarr.objects.tolerations import NO_EXECUTE

# Of a taint that does not say since when: long ago.
ALWAYS = datetime.min.replace(tzinfo=UTC)


def evicted_at(
    claim: resource.ResourceClaim, slices: Iterable[resource.ResourceSlice], rules: Iterable[resource.DeviceTaintRule]
) -> datetime | None:
    """From when on pods that use the devices of a claim have to go; None: they may stay. ``slices`` are those of its pools."""
    slices, rules = list(slices), list(rules)
    moments = [
        at
        for result in claim.status.allocation.devices.results
        for taint in _taints(result, slices, rules)
        if (at := _intolerable_at(taint, result.tolerations)) is not None
    ]
    return min(moments, default=None)


def _taints(
    result: resource.DeviceRequestAllocationResult,
    slices: Iterable[resource.ResourceSlice],
    rules: Iterable[resource.DeviceTaintRule],
) -> Iterator[resource.DeviceTaint]:
    """Those of a device that are for pods that run: what its driver says of it by now, and rules."""
    mine = [one for one in slices if (one.spec.driver, one.spec.pool.name) == (result.driver, result.pool)]
    newest = max((one.spec.pool.generation for one in mine), default=0)
    said = (
        taint
        for one in mine
        if one.spec.pool.generation == newest
        for device in one.spec.devices
        if device.name == result.device
        for taint in device.taints
    )
    ruled = (rule.spec.taint for rule in rules if taints_device(rule, result.driver, result.pool, result.device))
    yield from (taint for taints in (said, ruled) for taint in taints if taint.effect == NO_EXECUTE)


def _intolerable_at(taint: resource.DeviceTaint, tolerations: Iterable[resource.DeviceToleration]) -> datetime | None:
    """None: it is tolerated for good. Of several that tolerate it the shortest counts."""
    since = to_datetime(taint.time_added) if taint.HasField("time_added") else ALWAYS
    borne = [one for one in tolerations if tolerates(one, taint)]
    if not borne:
        return since
    limited = [one.toleration_seconds for one in borne if one.HasField("toleration_seconds")]
    # What is tolerated for no time at all is not tolerated.
    return seconds_after(since, max(min(limited), 0)) if limited else None
