"""Pods that are resized in place take what they have until their node has given it back, and nothing that it can never give them."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from services.scheduler.queue import State
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.objects import Objects, node, pod


def running(cpu: str, has: str, granted: str = "", pending: str = "") -> core.Pod:
    """A pod on ``n1`` that asks for ``cpu``, and whose container has something else."""
    found = pod("placed", cpu, "1Gi", node_name="n1")
    status = found.status.container_statuses.add(name="main")
    status.resources.requests["cpu"].string = has
    status.allocated_resources["cpu"].string = granted or has
    if pending:
        found.status.conditions.add(type="PodResizePending", status="True", reason=pending)
    return found


def state_of(placed: core.Pod) -> SchedulerState:
    state = SchedulerState(SchedulerSettings(), Objects(), lambda: 100.0)
    state.node_changed(None, node("n1"))
    state.pod_changed(None, placed)
    return state


def taken(state: SchedulerState, resource: str = "cpu") -> int:
    return int(state.table.requested[resource][state.table.rows["n1"]])


def test_the_larger_counts_of_what_a_pod_has_and_shall_have() -> None:
    assert taken(state_of(running("1", has="2"))) == 2000
    assert taken(state_of(running("2", has="1"))) == 2000
    assert taken(state_of(running("1", has="1", granted="3"))) == 3000
    assert taken(state_of(running("2", has="1", pending="Deferred"))) == 2000
    assert taken(state_of(running("2", has="1")), "memory") == 2**30


def test_what_a_node_can_never_give_does_not_count() -> None:
    state = state_of(running("2", has="1"))
    state.pod_changed(None, running("2", has="1", pending="Infeasible"))
    assert taken(state) == 1000
    state.validate()


async def test_what_is_given_back_wakes_who_was_refused_for_it() -> None:
    state = state_of(running("1", has="4"))
    state.pod_changed(None, pod("waits", "2"))
    waiting = await state.queue.take()
    state.queue.refuse(waiting, frozenset({"NodeResourcesFit"}))
    waiting.retry_at = 0.0
    noted = running("1", has="4")
    noted.status.message = "still at it"
    state.pod_changed(None, noted)
    assert (waiting.state, taken(state)) == (State.UNSCHEDULABLE, 4000)
    state.pod_changed(None, running("1", has="1"))
    assert (waiting.state, taken(state)) == (State.ACTIVE, 1000)
    # From now on its status makes no difference.
    touches = state.table.touches
    state.pod_changed(None, running("1", has="1"))
    assert taken(state) == 1000 and state.table.touches - touches <= 1
    state.validate()


def test_a_pod_is_resized_as_a_whole() -> None:
    small = pod("placed", "1", node_name="n1")
    small.spec.resources.requests["cpu"].string = "1"
    state = state_of(small)
    large = copy_of(small)
    large.spec.resources.requests["cpu"].string = "3"
    state.pod_changed(small, large)
    assert taken(state) == 3000
