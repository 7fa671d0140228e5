"""Reporting a workload's status."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from knarr.client.client import Client
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.objects.conditions import remove_condition, set_condition
from knarr.objects.copies import copy_of

REPLICA_FAILURE = "ReplicaFailure"


async def report(client: Client, workload: Any, status: Message, *, insist: bool = False) -> None:
    """Writes a status that differs from the workload's; one that is gone needs none.

    ``insist``: after a conflict it is written onto the object as it is now, for a status that only counts what was seen;
    otherwise Conflict is raised.
    """
    if status == workload.status:
        return
    changed = copy_of(workload)
    changed.status.CopyFrom(status)
    with contextlib.suppress(NotFound):
        try:
            await client.update(changed, subresource="status")
        except Conflict:
            if not insist:
                raise
            # The cache may not show yet what was written a moment ago.
            fresh: Any = await client.get(type(workload), workload.metadata.name, workload.metadata.namespace)
            if fresh.metadata.uid == workload.metadata.uid:
                fresh.status.CopyFrom(status)
                await client.update(fresh, subresource="status")


def set_replica_failure(status: Any, reason: str, failure: StatusError | None, now: datetime) -> None:
    """Keeps the ReplicaFailure condition while creating or deleting fails."""
    if failure is None:
        remove_condition(status, REPLICA_FAILURE)
    else:
        set_condition(status, REPLICA_FAILURE, True, reason=reason, message=str(failure), now=now, message_counts=False)
