"""KubeletService: a thin shell over the pods' workers and the runtime's streams."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.api.kubelet.v1 import kubelet_service_pb2_grpc
from knarr.machinery.errors import bad_request, internal, not_found, status_error
from knarr.machinery.times import to_micro_time
from knarr.objects.pods import container_statuses, every_container
from services.kubelet.conversation import converse, start_of
from services.kubelet.forwarding import dial_address, forward_start, relay
from services.kubelet.node.stats import Stats
from services.kubelet.parts.calls import check_container, no_container, part_log, previous_run
from services.kubelet.parts.keeper import PartKeeper
from services.kubelet.parts.port import Part
from services.kubelet.runtime.port import RUNNING, STDERR, STDOUT, Container, LogOptions, Runtime, RuntimeFailure, Sandbox, Session
from services.kubelet.worker.manager import PodManager

# The words of PodLogOptions; both where it is None.
LOG_STREAMS = {"All": None, "Stdout": STDOUT, "Stderr": STDERR}
# Longer ago than any log: what calendars and engines take has an end.
LONGEST_SINCE_SECONDS = 50 * 365 * 86_400


class KubeletServicer(kubelet_service_pb2_grpc.KubeletServiceServicer):
    """Lists the node's pods, streams logs, exec and attach of their containers, connects to their ports, and tells what they use. Errors
    are StatusErrors."""

    def __init__(self, manager: PodManager, runtime: Runtime, stats: Stats, node_ip: str = "", parts: PartKeeper | None = None) -> None:
        """``node_ip`` is the address of pods in the node's own network; ``parts`` are the pods that show none of the runtime's."""
        self._parts = parts
        self._manager = manager
        self._runtime = runtime
        self._stats = stats
        self._node_ip = node_ip

    async def ListPods(self, request: pb.ListPodsRequest, context: Any) -> pb.ListPodsResponse:
        response = pb.ListPodsResponse()
        for uid, worker in self._manager.workers.items():
            observation = self._runtime.observe(uid)
            sandbox = observation.sandbox if observation else None
            response.pods.add(pod=worker.pod, sandbox_id=sandbox.id if sandbox else "", activity=worker.activity)
        return response

    def check_logs(self, request: pb.LogsRequest) -> None:
        """Raises what ``Logs`` raises before it reads."""
        if (part := self._part(request.container.namespace, request.container.pod)) is not None:
            self._run_of(part, request)
        else:
            self._container(request.container, previous=request.previous)
        _since(request)
        _stream(request)

    def running_container(self, ref: pb.ContainerRef, uid: str = "") -> Container:
        """One that runs; ``uid``, if any, is its pod's. Raises StatusError."""
        self._identified(ref.namespace, ref.pod, uid)
        return self._running(ref)

    def reachable_pod(self, namespace: str, name: str, uid: str = "") -> Sandbox:
        """What a pod that runs has its ports in; ``uid`` as above. Raises StatusError."""
        observation = self._runtime.observe(self._identified(namespace, name, uid).metadata.uid)
        sandbox = observation.sandbox if observation else None
        if sandbox is None or not sandbox.ready:
            raise status_error("ServiceUnavailable", f"pod {name} is not running")
        return sandbox

    async def begin_exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        """Starts a command. Raises InternalError."""
        try:
            return await self._runtime.exec(container_id, command, stdin=stdin, tty=tty)
        except RuntimeFailure as error:
            raise internal(f"error executing command in container: {error}") from error

    async def begin_attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        """Connects to the container's main process. Raises InternalError."""
        try:
            return await self._runtime.attach(container_id, stdin=stdin, tty=tty)
        except RuntimeFailure as error:
            raise internal(f"error attaching to container: {error}") from error

    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsResponse]:
        part = self._part(request.container.namespace, request.container.pod)
        if part is None:
            container = self._container(request.container, previous=request.previous)
        else:
            previous = self._run_of(part, request)
        options = LogOptions(
            follow=request.follow and not request.previous,
            timestamps=request.timestamps,
            tail_lines=max(0, request.tail_lines) if request.HasField("tail_lines") else None,
            since=_since(request),
            stream=_stream(request),
        )
        left = max(0, request.limit_bytes) if request.HasField("limit_bytes") else None
        try:
            found = part_log(part, options, previous) if part is not None else self._runtime.logs(container.id, options)
            async with aclosing(found) as stream:  # type: ignore[type-var]
                async for data in stream:
                    piece = data if left is None else data[:left]
                    if piece:
                        yield pb.LogsResponse(data=piece)
                    if left is not None:
                        left -= len(piece)
                        if left <= 0:
                            return
        except RuntimeFailure as error:
            raise internal(str(error)) from error

    async def Exec(self, requests: AsyncIterator[pb.ExecRequest], context: Any) -> AsyncIterator[pb.ExecResponse]:
        start = await start_of(requests)
        container = self._running(start.container)
        session = await self.begin_exec(container.id, tuple(start.command), stdin=start.stdin, tty=start.tty)
        # The caller may go at any moment from now on, also before anything was said.
        async with session, aclosing(converse(session, requests, pb.ExecResponse)) as responses:  # type: ignore[type-var]
            await context.send_initial_metadata(())
            async for response in responses:
                yield response

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], context: Any) -> AsyncIterator[pb.AttachResponse]:
        start = await start_of(requests)
        container = self._running(start.container)
        session = await self.begin_attach(container.id, stdin=start.stdin, tty=start.tty)
        async with session, aclosing(converse(session, requests, pb.AttachResponse)) as responses:  # type: ignore[type-var]
            await context.send_initial_metadata(())
            async for response in responses:
                yield response

    async def PortForward(self, requests: AsyncIterator[pb.PortForwardRequest], context: Any) -> AsyncIterator[pb.PortForwardResponse]:
        start = await forward_start(requests)
        with await self.dial(start) as connection:
            await context.send_initial_metadata(())
            async with aclosing(relay(connection, (request.data async for request in requests))) as pieces:  # type: ignore[type-var]
                async for data in pieces:
                    yield pb.PortForwardResponse(data=data)

    async def dial(self, start: pb.PortForwardStart) -> socket.socket:
        """A connection to a port of a pod. Raises StatusError."""
        if (part := self._part(start.namespace, start.pod)) is not None:
            return await (dial_address(self._node_ip, start.port) if start.by_address else part.dial(start.port))
        sandbox = self.reachable_pod(start.namespace, start.pod)
        if start.by_address:
            return await dial_address(sandbox.ip or self._node_ip, start.port)
        try:
            return await self._runtime.dial(sandbox, start.port)
        except RuntimeFailure as error:
            raise status_error("ServiceUnavailable", f"failed to connect to localhost:{start.port} inside the pod: {error}") from error

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        try:
            found = await self._stats.current()
        except RuntimeFailure as error:
            raise internal(str(error)) from error
        response = pb.GetStatsResponse()
        for subject, use in found.items():
            if subject is None:
                told: Any = response.node
            else:
                pod, container = subject
                told = response.containers.add(container=pb.ContainerRef(namespace=pod.namespace, pod=pod.name, container=container))
            told.cpu_nanoseconds, told.memory_bytes = use.cpu_nanoseconds, use.memory_bytes
            if use.nanocores is not None:
                rate = told.cpu_rate
                rate.nanocores, rate.window_milliseconds = use.nanocores, round(use.window.total_seconds() * 1000)
                rate.time.CopyFrom(to_micro_time(use.time))
        return response

    def _pod(self, namespace: str, name: str) -> core.Pod:
        worker = self._manager.find(namespace, name)
        if worker is None:
            part = self._part(namespace, name)
            raise not_found("pods", name) if part is None else no_container(part, name)
        return worker.pod

    def _part(self, namespace: str, name: str) -> Part | None:
        """What a pod shows that is nothing of the runtime's; somebody's pod of that name goes first."""
        if self._parts is None or self._manager.find(namespace, name) is not None:
            return None
        return self._parts.find(namespace, name)

    def _run_of(self, part: Part, request: pb.LogsRequest) -> tuple[datetime, datetime | None] | None:
        """The run before, where its log is asked for. Raises BadRequest."""
        ref = request.container
        check_container(part, ref.pod, ref.container)
        mirror = self._parts.mirror(ref.namespace, ref.pod) if self._parts is not None else None
        return previous_run(part, ref.pod, mirror) if request.previous else None

    def _identified(self, namespace: str, name: str, uid: str) -> core.Pod:
        pod = self._pod(namespace, name)
        if uid and pod.metadata.uid != uid:
            raise not_found("pods", name)
        return pod

    def _container(self, ref: pb.ContainerRef, *, previous: bool = False) -> Container:
        """Whose log is asked for: of one that waits for its next start, as in Kubernetes, what it said the last time."""
        pod, name, found = self._observed(ref)
        if previous and found and not (found[-1].state == "exited" and _waits(pod, name)):
            found = found[:-1]
        begun = [container for container in found if container.state != "created"]
        if begun:
            return begun[-1]
        if previous:
            raise bad_request(f'previous terminated container "{name}" in pod "{ref.pod}" not found')
        if not found and _status_of(pod, name).state.HasField("terminated"):
            raise bad_request(f'container "{name}" in pod "{ref.pod}" is terminated, and was removed with its log')
        raise bad_request(f'container "{name}" in pod "{ref.pod}" is waiting to start: {_waiting_words(pod, name)}')

    def _observed(self, ref: pb.ContainerRef) -> tuple[core.Pod, str, list[Container]]:
        """The pod, the name that is meant, and all containers of it, the newest last."""
        pod = self._pod(ref.namespace, ref.pod)
        name = ref.container or (pod.spec.containers[0].name if len(pod.spec.containers) == 1 else "")
        if name not in {spec.name for spec in every_container(pod.spec)}:
            raise bad_request(f"container {ref.container} is not valid for pod {ref.pod}")
        observation = self._runtime.observe(pod.metadata.uid)
        found = [container for container in observation.containers if container.name == name] if observation else []
        return pod, name, sorted(found, key=lambda container: container.attempt)

    def _running(self, ref: pb.ContainerRef) -> Container:
        _, name, found = self._observed(ref)
        if not found or found[-1].state != RUNNING:
            raise internal(f'unable to upgrade connection: container not found ("{name}")')
        return found[-1]


def _status_of(pod: core.Pod, name: str) -> core.ContainerStatus:
    return next((found for found in container_statuses(pod.status) if found.name == name), core.ContainerStatus())


def _waits(pod: core.Pod, name: str) -> bool:
    return bool(_status_of(pod, name).state.HasField("waiting"))


def _waiting_words(pod: core.Pod, name: str) -> str:
    waiting = _status_of(pod, name).state.waiting
    words = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    return words.get(waiting.reason, waiting.reason or "ContainerCreating")


def _stream(request: pb.LogsRequest) -> int | None:
    if not request.HasField("stream"):
        return None
    if request.stream not in LOG_STREAMS:
        raise bad_request(f"invalid stream {request.stream!r}: it must be one of {', '.join(LOG_STREAMS)}")
    stream = LOG_STREAMS[request.stream]
    if stream is not None and request.HasField("tail_lines"):
        raise bad_request(f"tailLines cannot be given with the stream {request.stream}; leave one of them out")
    return stream


def _since(request: pb.LogsRequest) -> datetime | None:
    if request.HasField("since_seconds"):
        return datetime.now(UTC) - timedelta(seconds=max(0, min(request.since_seconds, LONGEST_SINCE_SECONDS)))
    if not request.since_time:
        return None
    # A time at the rim of the calendar may have none in UTC.
    with suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(request.since_time)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    raise bad_request(f"invalid sinceTime {request.since_time!r}: it must be written like 2026-01-01T00:00:00Z")
