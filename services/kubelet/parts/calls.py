"""What may be asked of a pod that shows a part of its node: its log and its ports. There is no container to run a command in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import StatusError, bad_request
from knarr.machinery.times import to_datetime
from services.kubelet.parts.port import Part
from services.kubelet.runtime.port import LogOptions


def check_container(part: Part, pod: str, name: str) -> None:
    """Raises BadRequest where the name that was given is not that of its container."""
    if name not in ("", part.name):
        raise bad_request(f"container {name} is not valid for pod {pod}")


def no_container(part: Part, pod: str) -> StatusError:
    """For who would enter it."""
    words = f"pod {pod} shows a part of the cluster's own process: there is no container to run anything in, or to attach to"
    return bad_request(f"{words}; {part.way_out}" if part.way_out else words)


def previous_run(part: Part, pod: str, mirror: core.Pod | None) -> tuple[datetime, datetime | None]:
    """From when until when the run before went whose log is asked for; BadRequest where there was none."""
    course = part.course()
    if course.last is not None:
        # What is said of its end belongs to it.
        return course.last.began, course.began
    shown = mirror.status.container_statuses[0] if mirror is not None and mirror.status.container_statuses else core.ContainerStatus()
    if not shown.last_state.HasField("terminated"):
        raise bad_request(f'previous terminated container "{part.name}" in pod "{pod}" not found')
    return to_datetime(shown.last_state.terminated.started_at), course.began


async def part_log(part: Part, options: LogOptions, previous: tuple[datetime, datetime | None] | None) -> AsyncIterator[bytes]:
    """The lines of its run, or of the ``previous`` one; of one that waits for its next start, what it said the last time."""
    course = part.course()
    begun = course.began or (course.last.began if course.last is not None else None)
    since, until = (begun, None) if previous is None else previous
    async with aclosing(part.log.read(options, since, until)) as lines:  # type: ignore[type-var]
        async for data in lines:
            yield data
