"""Pods whose claims wait for them: the node is chosen, the volumes are bound or made, then the pod is bound."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects import binding, local_path
from knarr.objects.binding import NO_PROVISIONER, SELECTED_NODE, is_fully_bound, is_taken
from services.controller.component import ControllerManager
from services.controller.controllers.localpath.controller import LocalPathController
from services.controller.controllers.persistentvolumebinder.controller import PersistentVolumeBinder
from services.scheduler.component import Scheduler
from services.scheduler.decide import decide
from services.scheduler.node_table import NodeTable
from services.scheduler.plugins.volumebinding.arguments import VolumeBindingArgs
from services.scheduler.plugins.volumebinding.plugin import NO_MATCH, VolumeBinding
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import ProfileSettings
from services.scheduler.settings import SchedulerSettings
from tests.controller.storage import asking, sized, storage_class
from tests.scheduler.objects import Objects, node, pod, profile_of
from tests.scheduler.test_component import Fixture
from tests.support.mishaps import Kind, Scenario, World, play, wrongs
from tests.support.rights import CONTROLLER, SCHEDULER
from tests.support.virtual_time import VirtualClock, virtual_time

CONTROLLERS = (PersistentVolumeBinder, LocalPathController)
STEP_SECONDS = 90.0


def using(name: str, *claims: str) -> core.Pod:
    made = pod(name)
    for claim in claims:
        made.spec.volumes.add(name=claim).volume_source.persistent_volume_claim.claim_name = claim
    return made


def storing(name: str) -> core.Node:
    made = node(name)
    made.metadata.annotations[local_path.FOLDERS] = "/srv/knarr"
    return made


def disk(name: str, of: str, on: str) -> core.PersistentVolume:
    made = sized(name, "1Gi", of=of)
    term = made.spec.node_affinity.required.node_selector_terms.add()
    term.match_expressions.add(key="kubernetes.io/hostname", operator="In", values=[on])
    return made


def local_class() -> storage.StorageClass:
    return storage_class("disks", provisioner=NO_PROVISIONER, waits=True)


class Bound:
    """A scheduler, and the controllers that bind and make volumes."""

    def __init__(self, *nodes: core.Node, controllers: Any = CONTROLLERS, settings: SchedulerSettings | None = None) -> None:
        self.fixture = Fixture(*nodes, settings=settings)
        self.client, self.api = self.fixture.client, self.fixture.api
        self._manager = ControllerManager(self.api.client(CONTROLLER), clock=VirtualClock(), controllers=controllers)

    async def __aenter__(self) -> Bound:
        self._running = self.fixture.running()
        await self._running.__aenter__()
        self._task = asyncio.ensure_future(self._manager.run())
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._running.__aexit__(*error)

    async def place(self, of: str) -> None:
        """A claim of this class and the pod `a` that uses it; what comes of them at first has come."""
        await self.client.create(asking("data", "1Gi", of=of))
        await self.client.create(using("a", "data"))
        await asyncio.sleep(5)

    async def node_of(self, name: str) -> str:
        return str((await self.fixture.pod(name)).spec.node_name)

    async def claim(self, name: str = "data") -> core.PersistentVolumeClaim:
        return await self.client.get(core.PersistentVolumeClaim, name, "default")


@virtual_time
async def test_a_volume_is_made_where_the_pod_goes() -> None:
    async with Bound(storing("n1"), storing("n2")) as b:
        await b.client.create(local_path.default_class())
        await b.client.create(asking("data", "1Gi", of=local_path.CLASS))
        await asyncio.sleep(5)
        assert not b.api.all(core.PersistentVolume)
        assert b.fixture.events("WaitForFirstConsumer") == ["waiting for first consumer to be created before binding"]
        await b.client.create(using("a", "data"))
        await asyncio.sleep(2)
        chosen, claim = await b.node_of("a"), await b.claim()
        assert chosen and claim.metadata.annotations[SELECTED_NODE] == chosen and is_fully_bound(claim)
        made = b.api.all(core.PersistentVolume)[0]
        assert made.metadata.labels[local_path.NODE_LABEL] == chosen
        # The next pod of the claim goes where its data is.
        await b.client.create(using("b", "data"))
        await asyncio.sleep(2)
        assert await b.node_of("b") == chosen


def placed(*objects: Message, nodes: int = 2) -> tuple[VolumeBinding, NodeTable]:
    """The plugin in a cluster of these objects, and the nodes n1, n2 and so on."""
    plugin, table = VolumeBinding(Objects(*objects)), NodeTable(VolumeBinding.reads)
    for number in range(1, nodes + 1):
        table.put_node(node(f"n{number}"))
    return plugin, table


def test_a_pod_goes_where_the_volume_is_that_is_kept_for_its_claim() -> None:
    kept = disk("kept", "disks", "n2")
    kept.spec.claim_ref.namespace, kept.spec.claim_ref.name = "default", "data"
    other = disk("other", "disks", "n1")
    kept.status.phase = other.status.phase = "Available"
    plugin, table = placed(kept, other, asking("data", "1Gi", of="disks"), local_class())
    mask = plugin.filter(PodFacts.of(using("a", "data")), table)
    assert mask is not None and [name for name, row in table.rows.items() if mask[row]] == ["n2"]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the volumes that are held against a claim, each time."""
    found: list[str] = []

    def looked(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> bool:
        found.append(volume.metadata.name)
        return is_taken(volume, claim)

    monkeypatch.setattr(binding, "is_taken", looked)
    return found


def test_the_volumes_are_looked_at_once_however_many_nodes_there_are(looks: list[str]) -> None:
    others = [sized(f"disk-{number}", "1Gi", of=local_path.CLASS, kept_for="other") for number in range(5)]
    plugin, table = placed(*others, asking("data", "1Gi", of=local_path.CLASS), local_path.default_class(), nodes=20)
    mask = plugin.filter(PodFacts.of(using("a", "data")), table)
    assert mask is not None and mask[: table.size].all()
    assert len(looks) == len(others)


def test_they_are_looked_at_once_more_to_say_why_no_node_will_do(looks: list[str]) -> None:
    others = [sized(f"disk-{number}", "1Gi", of="disks", kept_for="other") for number in range(5)]
    plugin, table = placed(*others, asking("data", "1Gi", of="disks"), local_class(), nodes=20)
    decision = decide(table, profile_of([plugin]), PodFacts.of(using("a", "data")), random.Random(0))
    assert decision.summary == f"0/20 nodes are available: 20 {NO_MATCH}."
    assert len(looks) == 2 * len(others)


@virtual_time
async def test_two_pods_do_not_get_one_volume() -> None:
    async with Bound(node("n1"), node("n2")) as b:
        await b.client.create(local_class())
        for name in ("on-n1", "on-n2"):
            await b.client.create(disk(name, "disks", name.removeprefix("on-")))
        await asyncio.sleep(1)
        for name in ("a", "b"):
            await b.client.create(asking(name, "1Gi", of="disks"))
        await asyncio.gather(*(b.client.create(using(name, name)) for name in ("a", "b")))
        await asyncio.sleep(5)
        assert {await b.node_of("a"), await b.node_of("b")} == {"n1", "n2"}
        assert {(await b.claim(name)).spec.volume_name for name in ("a", "b")} == {"on-n1", "on-n2"}
        assert b.fixture.events("FailedScheduling") == []


@virtual_time
async def test_a_pod_waits_for_its_claim_and_holds_up_nobody() -> None:
    settings = SchedulerSettings(seed=1, concurrent_writes=1)
    async with Bound(node("n1"), controllers=(PersistentVolumeBinder,), settings=settings) as b:
        await b.client.create(storage_class("slow", waits=True))
        await b.place("slow")
        assert (await b.claim()).metadata.annotations[SELECTED_NODE] == "n1" and not await b.node_of("a")
        await b.client.create(pod("other"))
        await asyncio.sleep(5)
        assert await b.node_of("other") == "n1" and not await b.node_of("a")
        await b.client.create(sized("late", "1Gi", of="slow", kept_for="data"))
        await asyncio.sleep(5)
        assert await b.node_of("a") == "n1"


@virtual_time
async def test_a_pod_whose_volume_cannot_be_made_there_is_placed_anew() -> None:
    settings = SchedulerSettings(seed=1, profiles=(ProfileSettings(args={"VolumeBinding": VolumeBindingArgs(30)}),))
    async with Bound(node("n1"), controllers=(PersistentVolumeBinder,), settings=settings) as b:
        await b.client.create(storage_class("slow", waits=True))
        await b.place("slow")
        claim = await b.claim()
        del claim.metadata.annotations[SELECTED_NODE]
        await b.client.update(claim)
        await asyncio.sleep(5)
        told = b.fixture.events("FailedScheduling")
        assert [words.rpartition(": ")[2] for words in told] == ['selectedNode annotation reset for PVC "data"']
        assert (await b.claim()).metadata.annotations[SELECTED_NODE] == "n1"
        await asyncio.sleep(40)
        assert any("timed out waiting for the condition" in told for told in b.fixture.events("FailedScheduling"))


@virtual_time
async def test_a_pod_whose_volume_goes_while_it_waits_is_placed_anew() -> None:
    # Nobody binds: the volume is kept for the claim, and no more happens.
    async with Bound(node("n1"), node("n2"), controllers=()) as b:
        await b.client.create(local_class())
        for name in ("on-n1", "on-n2"):
            made = await b.client.create(disk(name, "disks", name.removeprefix("on-")))
            made.status.phase = "Available"
            await b.client.update(made, subresource="status")
        await b.place("disks")
        kept = next(found for found in b.api.all(core.PersistentVolume) if found.spec.HasField("claim_ref"))
        await b.client.delete(core.PersistentVolume, kept.metadata.name)
        kept = await b.client.get(core.PersistentVolume, kept.metadata.name)
        del kept.metadata.finalizers[:]
        await b.client.update(kept)
        await asyncio.sleep(30)
        left = b.api.all(core.PersistentVolume)
        assert [found.spec.claim_ref.name for found in left] == ["data"]


@virtual_time
async def test_a_pod_that_goes_while_it_waits_gives_back_its_room() -> None:
    async with Bound(node("n1", pods="1"), controllers=(PersistentVolumeBinder,)) as b:
        await b.client.create(storage_class("slow", waits=True))
        await b.place("slow")
        await b.client.delete(core.Pod, "a", "default", grace_period_seconds=0)
        await b.client.create(pod("other"))
        await asyncio.sleep(5)
        assert await b.node_of("other") == "n1"


@virtual_time
async def test_a_pod_whose_claim_comes_later_is_tried_then() -> None:
    async with Bound(storing("n1")) as b:
        await b.client.create(local_path.default_class())
        await b.client.create(using("a", "data"))
        await asyncio.sleep(30)
        told = "0/1 nodes are available: {}. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        assert b.fixture.events("FailedScheduling") == [told.format('persistentvolumeclaim "data" not found')]
        await b.client.create(asking("data", "1Gi", of=local_path.CLASS))
        await asyncio.sleep(3)
        assert await b.node_of("a") == "n1"


@virtual_time
async def test_where_a_pod_goes_is_told_while_its_volume_is_waited_for_and_taken_back_if_that_fails() -> None:
    async with Bound(storing("n1"), controllers=()) as b:
        await b.client.create(local_path.default_class())
        await b.place(local_path.CLASS)
        waiting = await b.fixture.pod("a")
        assert (waiting.spec.node_name, waiting.status.nominated_node_name) == ("", "n1")
        await b.client.delete(core.PersistentVolumeClaim, "data", "default")
        # As long as volumes are waited for.
        await asyncio.sleep(620)
        waiting = await b.fixture.pod("a")
        assert (waiting.spec.node_name, waiting.status.nominated_node_name) == ("", "")
        assert b.fixture.events("FailedScheduling")[0].endswith("timed out waiting for the condition")


@virtual_time
async def test_a_pod_that_is_bound_is_expected_no_more() -> None:
    async with Bound(storing("n1")) as b:
        await b.client.create(local_path.default_class())
        await b.place(local_path.CLASS)
        bound = await b.fixture.pod("a")
        assert (bound.spec.node_name, bound.status.nominated_node_name) == ("n1", "")


async def stored(w: World) -> None:
    """A pod gets a volume that is there, a second one a volume that is made; a third one waits for room on its volume's node."""
    for name in ("n1", "n2"):
        w.api.seed(storing(name))
    w.api.seed(local_path.default_class(), local_class())
    await w.client.create(disk("on-n1", "disks", "n1"))
    await asyncio.sleep(STEP_SECONDS)
    await w.client.create(asking("there", "1Gi", of="disks"))
    await w.client.create(asking("made", "1Gi", of=local_path.CLASS))
    await w.client.create(using("a", "there"))
    await w.client.create(using("b", "made", "there"))
    await asyncio.sleep(STEP_SECONDS)
    await w.client.delete(core.Pod, "b", "default", grace_period_seconds=0)
    await w.client.create(using("c", "made"))
    await asyncio.sleep(STEP_SECONDS)


def where_the_data_is(w: World) -> None:
    assert {found.metadata.name: found.spec.node_name for found in w.api.all(core.Pod)} == {"a": "n1", "c": "n1"}
    assert {found.status.phase for found in w.api.all(core.PersistentVolumeClaim)} == {"Bound"}


def beside(world: World) -> list[Any]:
    return [ControllerManager(world.api.client(), clock=world.clock, controllers=CONTROLLERS).run]


SCENARIO = Scenario(lambda world, client: Scheduler(client, clock=world.clock), stored, beside, check=where_the_data_is, user=SCHEDULER)


def test_it_has_something_to_do() -> None:
    clean = play(SCENARIO)
    assert clean.writes and clean.events and clean.made and clean.final


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.NONE])
def test_it_comes_to_the_same_end(kind: Kind) -> None:
    assert wrongs(SCENARIO, kind) == []
