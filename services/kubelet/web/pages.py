"""The pages of a kubelet's HTTPS, each a thin shell over what knows the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import chain

from prometheus_client import generate_latest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.errors import bad_request, internal, status_error
from knarr.machinery.version import GIT_VERSION
from knarr.service.late import loaded
from knarr.service.web.message import WebAnswer, WebRequest
from services.kubelet.node.image_report import ImageReport
from services.kubelet.node.machine import Machine
from services.kubelet.runtime.port import RUNNING, Runtime, RuntimeFailure
from services.kubelet.servicer import KubeletServicer
from services.kubelet.settings import KubeletSettings
from services.kubelet.web.cadvisor import cadvisor_metrics
from services.kubelet.web.configz import configz
from services.kubelet.web.container_pages import container_logs, logs_request, run
from services.kubelet.web.disks import Disks
from services.kubelet.web.exposition import CONTENT_TYPE, Sample, family
from services.kubelet.web.face import JSON, Page, told
from services.kubelet.web.node_logs import NodeLogs
from services.kubelet.web.probe_metrics import probe_metrics
from services.kubelet.web.resource_metrics import resource_metrics
from services.kubelet.web.summary import only_cpu_and_memory, summary
from services.kubelet.web.survey import NodeSurvey, Surveyor
from services.kubelet.web.volume_metrics import volume_metrics
from services.kubelet.worker.manager import PodManager

STREAM_PAGES = "services.kubelet.web.stream_pages"


class Pages:
    """``healthy`` answers for each check by its name."""

    def __init__(
        self,
        settings: KubeletSettings,
        machine: Machine,
        manager: PodManager,
        runtime: Runtime,
        servicer: KubeletServicer,
        surveyor: Surveyor,
        disks: Disks,
        images: ImageReport,
        healthy: Mapping[str, Callable[[], bool]],
        started: datetime,
    ) -> None:
        self._settings, self._machine, self._manager, self._runtime = settings, machine, manager, runtime
        self._servicer, self._surveyor, self._disks, self._images = servicer, surveyor, disks, images
        self._healthy, self._started = healthy, started
        self._logs = NodeLogs()
        self._platform = f"linux/{machine.architecture}"

    @property
    def all(self) -> dict[str, dict[str, Page]]:
        """By the first part of the path and the method."""
        return {
            "metrics": {"GET": self._metrics},
            "stats": {"GET": self._stats},
            "pods": {"GET": self._pods},
            "runningpods": {"GET": self._running_pods},
            "healthz": {"GET": self._healthz},
            "configz": {"GET": self._configz},
            "logs": {"GET": self._node_logs},
            "containerLogs": {"GET": self._container_logs},
            "run": {"POST": self._run},
            "exec": dict.fromkeys(("GET", "POST"), self._exec),
            "attach": dict.fromkeys(("GET", "POST"), self._attach),
            "portForward": dict.fromkeys(("GET", "POST"), self._port_forward),
            "checkpoint": {"POST": self._checkpoint},
        }

    async def _metrics(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        match rest:
            case [] | [""]:
                lines = [*self._own(), *volume_metrics(self._manager, await self._disks.latest())]
                return _exposed(generate_latest(), lines)
            case ["cadvisor"]:
                return _exposed(b"", cadvisor_metrics(await self._survey(), self._machine, await self._disks.latest()))
            case ["resource"]:
                try:
                    return _exposed(b"", resource_metrics(await self._surveyor.now()))
                except RuntimeFailure:
                    return _exposed(b"", resource_metrics(None))
            case ["probes"]:
                return _exposed(b"", probe_metrics(self._manager))
            case ["slis"]:
                checks = [({"name": name, "type": "healthz"}, int(check()), None) for name, check in self._healthy.items()]
                return _exposed(b"", family("kubernetes_healthcheck", "gauge", "[STABLE] 1 where a check passes", checks))
        raise _no_page()

    def _own(self) -> list[str]:
        """What Kubernetes' kubelet tells beside the process' metrics, as far as dashboards ask for it."""
        observed = self._runtime.observed().values()
        containers = [container.state for found in observed for container in found.containers]
        sandboxes = sum(found.sandbox is not None and found.sandbox.ready for found in observed)
        told: dict[str, tuple[str, list[Sample]]] = {
            "kubelet_node_name": ("Names the node", [({"node": self._settings.node_name}, 1, None)]),
            "kubelet_running_pods": ("Pods whose sandbox runs", [({}, sandboxes, None)]),
            "kubelet_running_containers": (
                "Containers by their state",
                [({"container_state": state}, containers.count(state), None) for state in sorted(set(containers))],
            ),
            "kubernetes_build_info": ("Names the version", [({"git_version": GIT_VERSION, "platform": self._platform}, 1, None)]),
        }
        return [line for name, (words, samples) in told.items() for line in family(name, "gauge", f"[ALPHA] {words}", samples)]

    async def _stats(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        if rest != ["summary"]:
            raise _no_page()
        try:
            survey = await self._surveyor.with_rates()
        except RuntimeFailure as error:
            raise internal(f"Internal Error: {error}") from error
        found = summary(self._settings.node_name, survey, await self._disks.latest(), self._images.total_bytes, self._started)
        only = request.parameters().get("only_cpu_and_memory", [""])[0].lower() in ("true", "1")
        return told(only_cpu_and_memory(found) if only else found)

    async def _survey(self) -> NodeSurvey:
        try:
            return await self._surveyor.now()
        except RuntimeFailure as error:
            raise internal(str(error)) from error

    async def _pods(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        if rest not in ([], [""]):
            raise _no_page()
        pods = core.PodList(items=[worker.pod for worker in self._manager.workers.values() if not worker.facts.gone])
        return _listed(pods)

    async def _running_pods(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        """What the engine runs, by names alone."""
        if rest not in ([], [""]):
            raise _no_page()
        pods = core.PodList()
        for found in self._runtime.observed().values():
            running = [container for container in found.containers if container.state == RUNNING]
            if running:
                pod = pods.items.add()
                pod.metadata.name, pod.metadata.namespace, pod.metadata.uid = found.ref.name, found.ref.namespace, found.ref.uid
                for container in running:
                    pod.spec.containers.add(name=container.name, image=container.image)
        return _listed(pods)

    async def _healthz(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        name = "/".join(rest).strip("/")
        if name and name not in self._healthy:
            raise _no_page()
        parameters = request.parameters()
        asked = [name] if name else [check for check in self._healthy if check not in parameters.get("exclude", [])]
        found = {check: self._healthy[check]() for check in asked}
        well = all(found.values())
        if well and "verbose" not in parameters:
            return WebAnswer(b"ok")
        lines = [f"[+]{check} ok" if passed else f"[-]{check} failed: reason withheld" for check, passed in found.items()]
        return WebAnswer("\n".join([*lines, f"healthz check {'passed' if well else 'failed'}", ""]).encode(), 200 if well else 500)

    async def _configz(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        return told(configz(self._settings))

    async def _node_logs(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        if "query" in request.parameters():
            words = "query: this kubelet shows files below /var/log; it does not ask the node's services for their logs"
            raise bad_request(words)
        return await self._logs.answer("/".join(rest))

    async def _container_logs(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        namespace, pod, container = _named(rest, (3,), "/containerLogs/NAMESPACE/POD/CONTAINER")
        return await container_logs(self._servicer, logs_request(namespace, pod, container, request.parameters()))

    async def _run(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        return await run(self._servicer, request, _named(rest, (3, 4), "/run/NAMESPACE/POD/CONTAINER?cmd=COMMAND"))

    async def _exec(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        where = _named(rest, (3, 4), "/exec/NAMESPACE/POD/CONTAINER?command=COMMAND&output=1")
        return await (await loaded(STREAM_PAGES)).exec_page(self._servicer, request, where)  # type: ignore[no-any-return]

    async def _attach(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        where = _named(rest, (3, 4), "/attach/NAMESPACE/POD/CONTAINER?output=1")
        return await (await loaded(STREAM_PAGES)).attach_page(self._servicer, request, where)  # type: ignore[no-any-return]

    async def _port_forward(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        where = _named(rest, (2, 3), "/portForward/NAMESPACE/POD?port=PORT")
        return await (await loaded(STREAM_PAGES)).port_forward_page(self._servicer, request, where)  # type: ignore[no-any-return]

    async def _checkpoint(self, request: WebRequest, rest: list[str]) -> WebAnswer:
        raise status_error("NotFound", f"checkpointing of {'/'.join(rest)} failed: this node's runtime makes no checkpoints")


def _named(rest: list[str], counts: tuple[int, ...], path: str) -> list[str]:
    """The parts of a path that has so many of them; raises BadRequest with how it should be."""
    if len(rest) not in counts or not all(rest):
        raise bad_request(f"ask for {path}")
    return rest


def _no_page() -> Exception:
    return status_error("NotFound", "404 page not found")


def _exposed(before: bytes, lines: list[str]) -> WebAnswer:
    return WebAnswer(before + "".join(chain.from_iterable((line, "\n") for line in lines)).encode(), content_type=CONTENT_TYPE)


def _listed(pods: core.PodList) -> WebAnswer:
    return WebAnswer(codec.to_json(pods, ("v1", "PodList")), content_type=JSON)
