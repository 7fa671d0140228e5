"""Starting a container: what counts as a crash of it and what does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.starter import ContainerStarter
from services.kubelet.node.credential_providers import CredentialProviders
from services.kubelet.node.view import NodeView
from services.kubelet.pod.actions import StartContainer
from services.kubelet.pod.context import NodeContext, PodContext
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.events import PodEvents
from services.kubelet.pod.facts import AGAIN, PodFacts
from services.kubelet.pod.references import References
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import ContainerPlan, PodRef
from services.kubelet.runtime.port import EXITED, Container, Image, RuntimeFailure, RuntimeUnavailable, Sandbox
from services.kubelet.settings import KubeletSettings
from tests.kubelet.support import make_pod, running

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def starter_of(shared: SimpleNamespace, facts: PodFacts, data_dir: Path, events: list[str]) -> ContainerStarter:
    """Its events' messages go to ``events``."""
    told = cast(PodEvents, SimpleNamespace(container=lambda kind, reason, text, name: events.append(text)))
    ref = PodRef("default", "web", "uid")
    return ContainerStarter(PodContext(cast(NodeContext, shared), ref, facts, PodDirectory(data_dir, ref.uid), told))


async def test_an_engine_that_is_away_adds_nothing_to_the_back_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        async def read(self, _: object) -> References:
            return References()

        async def usable(self, *_: object) -> Image:
            return Image("sha256:1", "web:1", "", "", "", 0)

        def now(self) -> datetime:
            return NOW

    shared = SimpleNamespace(
        settings=KubeletSettings("node-1", tmp_path, "192.0.2.1"),
        providers=None,
        references=Nothing(),
        images=Nothing(),
        clock=Nothing(),
        runtime=HollowRuntime("10.244.0.0/24"),
        node=NodeView("node-1", "192.0.2.1", {}),
        groups=SimpleNamespace(parent=lambda _: ""),
    )
    facts = PodFacts(NOW)
    starter = starter_of(shared, facts, tmp_path, [])
    answers: list[Exception | None] = [RuntimeUnavailable("away"), None, RuntimeUnavailable("away again")]

    async def attempt(*_: Any) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(starter, "_create_and_start", attempt)
    ended = Container("1", "web", 0, EXITED, "web:1", "", "", 0, NOW, finished_at=NOW)
    action = StartContainer(core.Container(name="web", image="web:1"), 1, ended)
    sandbox = Sandbox("s", PodRef("default", "web", "uid"), 0, True, "10.0.0.1", NOW)
    delays = []
    for _ in range(3):
        await starter.start(core.Pod(), action, sandbox)
        backoff = facts.crash.get("web")
        delays.append(backoff.delay if backoff else None)
    first = timedelta(seconds=AGAIN.delay(1))
    assert delays == [None, first, first]


LATEST = "no such host; the image is on this machine: imagePullPolicy IfNotPresent runs it (the default of the tag latest is Always)"


@pytest.mark.parametrize(
    ("image", "here", "advice", "message"),
    [
        ("web:1", (), "", "no such host"),
        ("web:1", (), "`load {image}` copies it here", "no such host; `load web:1` copies it here"),
        ("web", ("web",), "", LATEST),
        ("web:latest", ("web:latest",), "", LATEST),
        ("web", (), "", "no such host"),
    ],
)
async def test_what_to_do_without_an_image_is_said(tmp_path: Path, image: str, here: tuple[str, ...], advice: str, message: str) -> None:
    class Nothing:
        async def read(self, _: object) -> References:
            return References()

        async def usable(self, reference: str, policy: str, _: object) -> Image | None:
            return Image("sha256:1", reference, "", "", "", 0) if policy != "Always" and reference in here else None

        async def pull(self, *_: object) -> Image:
            raise RuntimeFailure("no such host")

        def now(self) -> datetime:
            return NOW

    settings = KubeletSettings("node-1", tmp_path, "192.0.2.1", pull_advice=advice)
    nothing = Nothing()
    providers = CredentialProviders((), tmp_path)
    shared = SimpleNamespace(references=nothing, images=nothing, clock=nothing, settings=settings, providers=providers)
    events: list[str] = []
    facts = PodFacts(NOW)
    starter = starter_of(shared, facts, tmp_path, events)
    sandbox = Sandbox("s", PodRef("default", "web", "uid"), 0, True, "10.0.0.1", NOW)
    await starter.start(core.Pod(), StartContainer(core.Container(name="web", image=image), 0, None), sandbox)
    assert facts.failures["web"].message == message
    assert f'Failed to pull image "{image}": {message}' in events


class RefusingRuntime(HollowRuntime):
    """Makes no container."""

    tries = 0

    async def create_container(self, plan: ContainerPlan) -> Container:
        self.tries += 1
        raise RuntimeFailure("no space left on device")


async def test_a_container_that_cannot_be_made_says_so_and_waits(tmp_path: Path) -> None:
    runtime = RefusingRuntime("10.244.0.0/24")
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod())

        def shown() -> tuple[str, str] | None:
            pod = cluster.pod()
            states = [status.state.waiting for status in pod.status.container_statuses] if pod is not None else []
            return next(((state.reason, state.message) for state in states if state.message), None)

        assert await cluster.until(shown) == ("CreateContainerError", "no space left on device")
        await cluster.until(lambda: cluster.events("Failed") == ["Error: no space left on device"])
        assert runtime.tries == 1
