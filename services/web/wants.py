"""What each controller wants next: its queue, and the keys that wait, failed or are to be looked at again, as JSON."""

from __future__ import annotations

from typing import Any

from knarr.service.late import loaded
from services.web.parts import Parts, Unanswered

LIST, KEYS = "/knarr.api.controller.v1.ControllerService/ListControllers", "/knarr.api.controller.v1.ControllerService/ListKeys"
# Of one controller: a person reads no more.
MOST_KEYS = 50


async def wanted(parts: Parts) -> dict[str, Any]:
    """``leader``, ``controllers`` with their counts, ``keys`` in the order in which ListKeys has them, how many were ``left_out``. Raises
    Unanswered."""
    messages = await loaded("knarr.api.controller.v1.controller_service_pb2")
    lists = await parts.ask_each("controller", LIST, messages.ListControllersRequest(), messages.ListControllersResponse)
    keys_of = await parts.ask_each("controller", KEYS, messages.ListKeysRequest(limit=MOST_KEYS), messages.ListKeysResponse)
    # Of several, one works and the others wait.
    there = sorted(lists.keys() & keys_of.keys(), key=lambda one: not lists[one].leader)
    if not there:
        raise Unanswered("no controller answered both questions")
    listed, active = lists[there[0]], keys_of[there[0]]
    controllers = [
        {"name": one.name, "depth": one.queue_depth, "running": one.running, "syncs": one.syncs, "errors": one.errors}
        for one in listed.controllers
    ]
    keys = [
        {
            "controller": one.controller,
            "key": one.key,
            "state": messages.KeyState.Name(one.state).removeprefix("KEY_STATE_").lower(),
            "error": one.last_error,
            "failures": one.failures,
            "next": round(one.next_in_seconds, 1),
            "last": one.last_sync_seconds,
        }
        for one in active.keys
    ]
    return {"leader": listed.leader, "controllers": controllers, "keys": keys, "left_out": active.left_out}
