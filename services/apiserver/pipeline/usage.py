"""metrics.k8s.io: how much CPU and memory nodes and pods use, asked of their kubelets when somebody asks. Nothing of it is stored.

As in Kubernetes a list leaves out what is not measured (yet): nodes that do not answer, pods of which a container is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.machinery.quantity import Notation, Quantity
from knarr.machinery.times import to_datetime, to_time
from services.apiserver.deadline import within
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import cached, catch_up
from services.apiserver.pipeline.refusals import missing
from services.apiserver.pipeline.selection import Selection
from services.apiserver.request import Request
from services.apiserver.results import Page, Ref, Written
from services.apiserver.storage.keys import object_key

PODS, NODES = version_of(core.Pod), version_of(core.Node)
NANO = Decimal("1e-9")
# So many objects are made before others have their turn; one takes some 50 µs.
AT_ONCE = 100
# What each kind of metrics is about.
SUBJECTS = {metrics.PodMetrics: PODS, metrics.NodeMetrics: NODES}


async def get(pipeline: Pipeline, request: Request) -> Written:
    subject = SUBJECTS[request.ref.version.message]
    entry = await cached(pipeline, request, Ref(subject, request.namespace, request.name))
    found = await _measured(pipeline, request, [entry])
    if not found:
        raise missing(request.ref)
    return Written(entry=found[0])


async def list_page(pipeline: Pipeline, request: Request) -> Page:
    """Selected by the labels and names of the pods and nodes themselves."""
    subject, options = SUBJECTS[request.ref.version.message], request.options
    selection = Selection.of(Ref(subject, request.namespace, request.name), options, pipeline.strategies)
    backend = pipeline.backend
    await backend.synced(request.deadline)
    await catch_up(backend, request, "")
    entries = backend.cache.collection(subject.resource).listing(selection.prefix)
    chosen = [entry for entry in entries if selection.everything or selection.matches(entry)]
    return Page(Entries.of(await _measured(pipeline, request, chosen)), backend.cache.revision)


async def _measured(pipeline: Pipeline, request: Request, chosen: Sequence[Entry]) -> list[Entry]:
    make = await _maker(pipeline, request, chosen)
    found: list[Entry] = []
    for count, entry in enumerate(chosen, start=1):
        if (made := make(entry.shared_message)) is not None:
            key = object_key(request.resource, made.metadata.namespace, made.metadata.name)
            # Not as it would be stored: that is rounded to thousandths.
            found.append(Entry(request.ref.version, key, 0, made.SerializeToString(deterministic=True)))
        if not count % AT_ONCE:
            # The loop is others' too.
            await asyncio.sleep(0)
    return found


async def _maker(pipeline: Pipeline, request: Request, chosen: Sequence[Entry]) -> Callable[[Any], Any]:
    """What makes the metrics of a node or pod of what the kubelets say; None of one that is not measured."""
    if request.ref.version.message is metrics.NodeMetrics:
        use = await _asked(pipeline, request, [entry.shared_message for entry in chosen])
        nothing = kubelet.GetStatsResponse()
        return lambda node: node_metrics(node, use.get(node.metadata.name, nothing).node)
    names = dict.fromkeys(pod.spec.node_name for pod in (entry.shared_message for entry in chosen) if pod.status.phase == "Running")
    cache = pipeline.backend.cache
    nodes = [entry.shared_message for name in names if (entry := cache.get(NODES.resource, "", name)) is not None]
    by_container = _by_container((await _asked(pipeline, request, nodes)).values())
    return lambda pod: pod_metrics(pod, by_container)


async def _asked(pipeline: Pipeline, request: Request, nodes: Iterable[core.Node]) -> dict[str, kubelet.GetStatsResponse]:
    """By node, what those say that answer."""

    async def ask(node: core.Node) -> tuple[str, kubelet.GetStatsResponse | None]:
        try:
            return node.metadata.name, await pipeline.node_stats.of(node)
        except StatusError:
            return node.metadata.name, None

    async def ask_all() -> dict[str, kubelet.GetStatsResponse]:
        return {name: found for name, found in await asyncio.gather(*map(ask, nodes)) if found is not None}

    return await within(request.deadline, ask_all(), "the kubelets")


Containers = dict[tuple[str, str], dict[str, kubelet.ContainerStats]]


def _by_container(answers: Iterable[kubelet.GetStatsResponse]) -> Containers:
    """By namespace and name of the pod, then by container."""
    found: Containers = {}
    for answer in answers:
        for stats in answer.containers:
            found.setdefault((stats.container.namespace, stats.container.pod), {})[stats.container.container] = stats
    return found


def node_metrics(node: core.Node, use: kubelet.NodeStats) -> metrics.NodeMetrics | None:
    """None while it is not known how fast CPU is used."""
    if not use.HasField("cpu_rate"):
        return None
    made = metrics.NodeMetrics()
    made.metadata.name = node.metadata.name
    made.metadata.labels.update(node.metadata.labels)
    _time(made, [use])
    _use(made.usage, use)
    return made


def pod_metrics(pod: core.Pod, by_container: Containers) -> metrics.PodMetrics | None:
    """None while one of its containers that run is not measured."""
    found = by_container.get((pod.metadata.namespace, pod.metadata.name), {})
    running = [
        status.name for status in (*pod.status.init_container_statuses, *pod.status.container_statuses) if status.state.HasField("running")
    ]
    if pod.status.phase != "Running" or not running or not all(name in found and found[name].HasField("cpu_rate") for name in running):
        return None
    made = metrics.PodMetrics()
    made.metadata.name, made.metadata.namespace = pod.metadata.name, pod.metadata.namespace
    made.metadata.labels.update(pod.metadata.labels)
    _time(made, [found[name] for name in running])
    for name in running:
        _use(made.containers.add(name=name).usage, found[name])
    return made


def _time(made: Any, parts: Sequence[Any]) -> None:
    """That of the part that was measured the longest time ago."""
    oldest = min((part.cpu_rate for part in parts), key=lambda rate: (rate.time.seconds, rate.time.nanos))
    made.timestamp.CopyFrom(to_time(to_datetime(oldest.time)))
    made.metadata.creation_timestamp.CopyFrom(made.timestamp)
    made.window.duration = timedelta(milliseconds=oldest.window_milliseconds) // timedelta(microseconds=1) * 1000


def _use(usage: Any, part: Any) -> None:
    usage["cpu"].string = str(Quantity(part.cpu_rate.nanocores * NANO, Notation.DECIMAL))
    usage["memory"].string = str(Quantity(Decimal(part.memory_bytes), Notation.BINARY))
