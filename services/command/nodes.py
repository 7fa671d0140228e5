"""``knarr node``: the nodes of a cluster on one machine, more of them, fewer of them.

All but its own are simulated, or share the machine and its engine with that one. Which there are to be is a part of the cluster's settings:
written in one step, followed by its process while it runs, and read by its next start. Whoever is interrupted takes back what he chose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import orjson

from knarr.machinery import quantity
from knarr.objects.hollow import LABEL, MOST_NODES, node_number
from knarr.objects.pods import MIRROR
from knarr.service.errors import CommandError
from services.command.api import ApiClient, Refused
from services.command.named.freezing import is_frozen
from services.standalone import process
from services.standalone.fellows.plan import may_have_fellows, name_of, number_of
from services.standalone.files import Files
from services.standalone.hollow import HOLLOW, free_numbers, node_numbers, with_nodes
from services.standalone.lock import held
from services.standalone.settings import ClusterSettings
from services.standalone.signals import interruptible, undisturbed

POLL_SECONDS = 0.1
# How long one waits for another command that chooses nodes.
TURN_SECONDS = 10.0
GONE_SECONDS = 30.0
NODES = "/api/v1/nodes"
MIB = 1 << 20
ROLE = "node-role.kubernetes.io/"
CONFLICT, TOO_MANY, NOT_FOUND = 409, 429, 404
# Hears how many are done, of how many.
Tell = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Listed:
    """One node. ``cpu`` (thousandths of a processor) and ``memory`` (bytes) are what it has; ``simulated``: it has no machine; ``pods``
    counts those that have not ended."""

    name: str
    ready: bool
    schedulable: bool
    roles: list[str]
    simulated: bool
    cpu: int
    memory: int
    pods: int
    pod_range: str


def listed(settings: ClusterSettings) -> list[Listed]:
    """The nodes by the API: first the cluster's own, then the others in their order. Raises CommandError."""
    with _api(settings) as api:
        counts: dict[str, int] = {}
        for pod in api.objects("/api/v1/pods"):
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                name = pod["spec"].get("nodeName", "")
                counts[name] = counts.get(name, 0) + 1
        found = [_listed(node, counts, settings) for node in api.objects(NODES)]
    return sorted(found, key=lambda one: (one.name != settings.node, number_of(settings, one.name), one.name))


def _listed(node: Any, counts: dict[str, int], settings: ClusterSettings) -> Listed:
    name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
    own = name == settings.node
    has = node.get("status", {}).get("capacity", {})
    return Listed(
        name=name,
        ready=_is_ready(node),
        schedulable=not node["spec"].get("unschedulable", False),
        roles=sorted(label.removeprefix(ROLE) for label in labels if label.startswith(ROLE)),
        simulated=settings.runtime == HOLLOW if own else LABEL in labels or node_number(name) > 0,
        cpu=quantity.milli(has.get("cpu", "0")),
        memory=quantity.value(has.get("memory", "0")),
        pods=counts.get(name, 0),
        pod_range=node["spec"].get("podCIDR", ""),
    )


def as_dicts(nodes: Sequence[Listed]) -> list[dict[str, object]]:
    return [asdict(node) for node in nodes]


def as_rows(nodes: Sequence[Listed]) -> list[list[str]]:
    """A table with its head."""
    rows = [["NAME", "STATUS", "ROLES", "KIND", "CPU", "MEMORY", "PODS", "POD RANGE"]]
    for node in nodes:
        status = ("Ready" if node.ready else "NotReady") + ("" if node.schedulable else ",SchedulingDisabled")
        kind, cpu = "simulated" if node.simulated else "machine", quantity.canonical(f"{node.cpu}m")
        rows.append([node.name, status, ",".join(node.roles), kind, cpu, f"{node.memory // MIB}Mi", str(node.pods), node.pod_range])
    return rows


def add(settings: ClusterSettings, amount: int, tell: Tell) -> list[str]:
    """Adds nodes, answers their names once they are ready. ``tell`` hears how many are. Interrupted, or where they do not become
    ready, it takes them away again. Raises CommandError."""
    state = _running(settings)
    with _turn(settings) as latest:
        numbers = free_numbers(latest, amount)
        grown = with_nodes(latest, {*node_numbers(latest), *numbers})
        if latest.runtime != HOLLOW and not may_have_fellows(latest):
            raise CommandError(
                "nodes that are added to a cluster on one machine are simulated, or share its Docker engine with --datapath nftables, and"
                f" this one has the runtime {latest.runtime}: pods that went there would run nowhere; add machines (docs/compose.md,"
                " docs/install.md)"
            )
        _check_room(max(numbers) + 1, grown, state)
        _check_machine(grown)
        names = [name_of(grown, number) for number in numbers]
        try:
            with interruptible(), _api(settings) as api:
                grown.save()
                _wait(lambda: _ready_among(api, names), len(names), tell, process.start_timeout(amount))
        except BaseException:
            with undisturbed():
                latest.save()
            raise
    return names


def _check_room(ranges: int, grown: ClusterSettings, state: dict[str, Any]) -> None:
    if grown.nodes > MOST_NODES:
        raise CommandError(f"a cluster has {MOST_NODES} nodes at most")
    if ranges > state["pod_ranges"]:
        raise CommandError(
            f"the cluster's range of pod addresses is enough for {state['pod_ranges']} nodes; `knarr down`, then `knarr up --nodes"
            f" {grown.nodes}` has a larger one"
        )


def _check_machine(grown: ClusterSettings) -> None:
    """Whether there is room for nodes that are not simulated."""
    if grown.runtime == HOLLOW:
        return
    from services.standalone.preflight import range_problems, read_route_problems

    if found := [*range_problems(grown), *read_route_problems(grown)]:
        raise CommandError("; ".join(found))


def remove(settings: ClusterSettings, names: Sequence[str], *, force: bool, timeout_seconds: float, tell: Tell) -> list[str]:
    """Removes nodes, answers their names once they are gone. Without ``force`` their pods go first, as `kubectl drain` has them
    go; interrupted meanwhile, or where they do not go, the nodes stay and take pods again. ``tell`` hears how many pods have gone. Raises
    CommandError."""
    _running(settings)
    wanted = list(dict.fromkeys(names))
    with _turn(settings) as latest, _api(settings) as api:
        _check_names(latest, api, wanted)
        left = with_nodes(latest, [number for number in node_numbers(latest) if name_of(latest, number) not in wanted])
        if force:
            left.save()
        else:
            with interruptible():
                _drain(api, wanted, timeout_seconds, tell, left.save)
        _wait(lambda: len(wanted) - _count(api, wanted), len(wanted), lambda done, total: None, GONE_SECONDS)
    return wanted


def switch(settings: ClusterSettings, names: Sequence[str], *, on: bool, tell: Tell) -> list[str]:
    """Switches nodes off, as if their machines lost power, or on again: then it answers once they are ready. Answers their names. Raises
    CommandError."""
    _running(settings)
    wanted = list(dict.fromkeys(names))
    with _turn(settings) as latest, _api(settings) as api:
        _check_names(latest, api, wanted)
        if latest.runtime == HOLLOW:
            raise CommandError("simulated nodes have no power to lose; --hollow-faults FILE says what befalls them, and when")
        numbers = {number_of(latest, name) for name in wanted}
        before = {int(number) for number in latest.stopped_nodes.split(",") if number}
        after = before - numbers if on else before | numbers
        replace(latest, stopped_nodes=",".join(map(str, sorted(after)))).save()
        if on:
            _wait(lambda: _ready_among(api, wanted), len(wanted), tell, process.start_timeout(len(wanted)))
    return wanted


def _check_names(settings: ClusterSettings, api: ApiClient, names: Collection[str]) -> None:
    there = {name_of(settings, number) for number in node_numbers(settings)}
    for name in names:
        if name == settings.node:
            raise CommandError(f"{name} is the cluster's own node; `knarr down` stops the cluster")
        if name not in there:
            known = ", ".join(sorted(there, key=partial(number_of, settings))[:10]) or "none"
            what = "is a machine of its own, or of another process; `kubectl delete node` forgets it" if _found(api, name) else "is no node"
            raise CommandError(f"{name} {what}; those that `knarr node` has added: {known}")


def _drain(api: ApiClient, names: Sequence[str], timeout_seconds: float, tell: Tell, then: Callable[[], object]) -> None:
    """Keeps new pods away, has those that are there go, and does what is to be done ``then``. Undone where it fails."""
    _check_alone(api, names)
    closed: list[str] = []
    try:
        for name in names:
            if _set_unschedulable(api, name, True):
                closed.append(name)
        _evict_all(api, names, timeout_seconds, tell)
        then()
    except BaseException:
        with undisturbed():
            for name in closed:
                with suppress(Refused, CommandError):
                    _set_unschedulable(api, name, False)
        raise


def _check_alone(api: ApiClient, names: Sequence[str]) -> None:
    """Pods of nobody come again nowhere: who removes their node says that he means it."""
    lost = [_words(pod) for name in names for pod in _pods(api, name) if not _controller(pod)]
    if lost:
        raise CommandError(f"nobody would make these pods anew elsewhere: {', '.join(sorted(lost)[:10])}; delete them, or give --force")


def _evict_all(api: ApiClient, names: Sequence[str], timeout_seconds: float, tell: Tell) -> None:
    """Returns when the nodes have no pods but those that are theirs. A disruption budget is waited for."""
    deadline, most, refused = time.monotonic() + timeout_seconds, 0, ""
    while left := [pod for name in names for pod in _pods(api, name)]:
        most = max(most, len(left))
        tell(most - len(left), most)
        if time.monotonic() > deadline:
            why = f" ({refused})" if refused else ""
            raise CommandError(
                f"{len(left)} pods are still there after {timeout_seconds:.0f} s, {_words(left[0])} among them{why}; give them --timeout"
                " SECONDS, or --force"
            )
        for pod in left:
            if "deletionTimestamp" not in pod["metadata"]:
                refused = _evict(api, pod) or refused
        time.sleep(POLL_SECONDS)


def _evict(api: ApiClient, pod: Any) -> str:
    """Why it may not go now; empty where it goes."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": namespace, "name": name}}
    try:
        api.text("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", orjson.dumps(body))
    except Refused as error:
        if error.code == TOO_MANY:
            return str(error)
        if error.code != NOT_FOUND:
            raise CommandError(f"{_words(pod)}: {error}") from error
    return ""


def _set_unschedulable(api: ApiClient, name: str, unschedulable: bool) -> bool:
    """False where it was so already."""
    while True:
        node = api.get(f"{NODES}/{name}")
        if node["spec"].get("unschedulable", False) == unschedulable:
            return False
        node["spec"]["unschedulable"] = unschedulable
        try:
            api.put(f"{NODES}/{name}", node)
            return True
        except Refused as error:
            # Its kubelet writes it, too.
            if error.code != CONFLICT:
                raise


def _pods(api: ApiClient, name: str) -> Iterator[Any]:
    """The pods that have to go before a node does: not what is a node's own, nor what is over."""
    for pod in api.objects("/api/v1/pods", field_selector=f"spec.nodeName={name}"):
        metadata = pod["metadata"]
        over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if not over and MIRROR not in (metadata.get("annotations") or {}) and _controller(pod) != "DaemonSet":
            yield pod


def _controller(pod: Any) -> str:
    """The kind of what would make it anew; empty where nothing would."""
    return next((str(owner["kind"]) for owner in pod["metadata"].get("ownerReferences") or () if owner.get("controller")), "")


def _words(pod: Any) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _is_ready(node: Any) -> bool:
    return any(found["type"] == "Ready" and found["status"] == "True" for found in node.get("status", {}).get("conditions") or ())


def _ready_among(api: ApiClient, names: Collection[str]) -> int:
    return sum(_is_ready(node) for node in api.objects(NODES) if node["metadata"]["name"] in names)


def _count(api: ApiClient, names: Collection[str]) -> int:
    return sum(node["metadata"]["name"] in names for node in api.objects(NODES))


def _found(api: ApiClient, name: str) -> bool:
    return _count(api, [name]) > 0


def _wait(done: Callable[[], int], total: int, tell: Tell, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (now := done()) < total:
        tell(now, total)
        if time.monotonic() > deadline:
            raise CommandError(f"{total - now} of {total} nodes are not as they should be after {seconds:.0f} s; `knarr logs` may say why")
        time.sleep(POLL_SECONDS)


def _running(settings: ClusterSettings) -> dict[str, Any]:
    """What the cluster tells of itself; CommandError where it cannot do what is asked of it now."""
    files = settings.files
    running = process.find(files)
    if running is None or not files.state.exists():
        raise CommandError(f"no cluster runs from {files.root}; start it first: `knarr up`, with --nodes for more nodes at once")
    if is_frozen(running.pid):
        raise CommandError(f"the cluster in {files.root} is paused; `knarr resume` lets it go on")
    state = files.read_state()
    if "pod_ranges" not in state:
        raise CommandError("an earlier version has started the cluster, which does not listen to this; `knarr down` and `knarr up` first")
    return state


def _api(settings: ClusterSettings) -> ApiClient:
    _running(settings)
    return ApiClient(settings.files.kubeconfig)


@contextmanager
def _turn(settings: ClusterSettings) -> Iterator[ClusterSettings]:
    """The settings as they are now, while nobody else changes the nodes. The directory itself is held by the cluster's process."""
    files: Files = settings.files
    with held(files.pki, wait_seconds=TURN_SECONDS):
        yield ClusterSettings.saved(settings.data_dir)
