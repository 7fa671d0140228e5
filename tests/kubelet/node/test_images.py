"""Images of a node: how many are pulled at once, and what is told where one cannot be looked at or is for other machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from knarr.client.clock import SYSTEM_CLOCK
from services.kubelet.image_verification import DEFAULT_VERIFICATION
from services.kubelet.node.files import NoFiles
from services.kubelet.node.images import ImageFailure, Images
from services.kubelet.node.keyring import Credential
from services.kubelet.node.pull_files import NoPullFiles
from services.kubelet.node.pull_ledger import PullLedger
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import Image, RuntimeFailure, RuntimeUnavailable
from tests.kubelet.support import make_pod, running

CIDR = "10.244.0.0/24"


def images_of(runtime: HollowRuntime, at_once: int = 0) -> Images:
    return Images(runtime, PullLedger(NoPullFiles(), NoFiles(), DEFAULT_VERIFICATION, SYSTEM_CLOCK), at_once=at_once)


class Logins:
    """By these users."""

    def __init__(self, *users: str) -> None:
        self.of_secrets = [Credential({"username": user}) for user in users]

    async def of_accounts(self) -> list[Credential]:
        return []

    async def __aiter__(self) -> AsyncIterator[Credential]:
        for credential in self.of_secrets:
            yield credential


class Slow(HollowRuntime):
    """Pulls when it is let; ``most`` is how many it did at once."""

    def __init__(self) -> None:
        super().__init__(CIDR)
        self.now = self.most = 0
        self.let = asyncio.Event()

    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.let.wait()
        self.now -= 1
        return Image("id", reference)


@pytest.mark.parametrize(("at_once", "most"), [(0, 4), (1, 1), (2, 2)])
async def test_pulls_at_once(at_once: int, most: int) -> None:
    runtime = Slow()
    images = images_of(runtime, at_once)
    pulls = [asyncio.create_task(images.pull(f"app:{number}", Logins())) for number in (1, 2, 3, 4, 4)]
    for _ in range(20):
        await asyncio.sleep(0)
    runtime.let.set()
    found = await asyncio.gather(*pulls)
    assert runtime.most == most and [pulled.image.reference for pulled in found] == ["app:1", "app:2", "app:3", "app:4", "app:4"]


NEVER_PRESENT = ("ErrImageNeverPull", 'Container image "app:1" is not present with pull policy of Never')
NO_NAME = ("InvalidImageName", 'Failed to apply default image tag "App:1": couldn\'t parse image name')


@pytest.mark.parametrize(
    ("reference", "policy", "here", "found"),
    [
        ("app:1", "IfNotPresent", True, "app:1"),
        ("app", "IfNotPresent", True, "app:latest"),
        ("app:1", "Never", True, "app:1"),
        ("app:1", "Always", True, None),
        ("app:1", "IfNotPresent", False, None),
        ("app:1", "Always", False, None),
        ("app:1", "Never", False, NEVER_PRESENT),
        ("App:1", "Always", True, NO_NAME),
        ("App:1", "Never", False, NO_NAME),
    ],
)
async def test_whether_an_image_is_to_be_pulled(reference: str, policy: str, here: bool, found: str | tuple[str, str] | None) -> None:
    """``found``: which image is used as it is; None: it is to be pulled; or reason and message of why it cannot be had."""
    runtime = HollowRuntime(CIDR)
    runtime.missing_images |= set() if here else {reference}
    try:
        image = await images_of(runtime).usable(reference, policy, Logins())
    except ImageFailure as failure:
        assert (failure.reason, failure.message) == found
    else:
        assert (image and image.reference) == found


class Guarded(HollowRuntime):
    """A registry lets one user in, or anybody where that is nobody; ``asked`` are those who came."""

    def __init__(self, user: str = "") -> None:
        super().__init__(CIDR)
        self.user = user
        self.asked: list[str] = []

    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        user = (auth or {}).get("username", "")
        self.asked.append(user)
        if user == "away":
            raise RuntimeUnavailable("the engine is away")
        if user != self.user:
            raise RuntimeFailure(f"{user or 'nobody'} is refused")
        return await super().pull(reference, auth)


@pytest.mark.parametrize(
    ("users", "right", "asked", "error"),
    [
        ((), "", [""], None),
        (("a", "b"), "b", ["a", "b"], None),
        (("a", "b"), "a", ["a"], None),
        (("a", "a", "b"), "b", ["a", "b"], None),
        (("a", "b"), "c", ["a", "b"], "[a is refused, b is refused]"),
        (("a",), "", ["a"], "a is refused"),
        (("a", "away", "b"), "b", ["a", "away"], "the engine is away"),
    ],
)
async def test_each_login_is_tried_until_one_is_taken(users: tuple[str, ...], right: str, asked: list[str], error: str | None) -> None:
    """Nobody who has logins comes without; what all of them were refused for is told."""
    runtime = Guarded(right)
    try:
        pulled = await images_of(runtime).pull("app", Logins(*users))
    except RuntimeFailure as failure:
        assert str(failure) == error
    else:
        assert error is None and pulled.image.reference == "app:latest"
    assert runtime.asked == asked


async def test_a_pull_by_another_login_is_another_pull() -> None:
    """Whoever waited for the first would have what it may not."""
    runtime = Slow()
    images = images_of(runtime)
    pulls = [asyncio.create_task(images.pull("app:1", logins)) for logins in (Logins("a"), Logins("b"), Logins("a"), Logins())]
    for _ in range(20):
        await asyncio.sleep(0)
    runtime.let.set()
    await asyncio.gather(*pulls)
    assert runtime.most == 3


class Broken(HollowRuntime):
    async def image(self, reference: str) -> Image:
        raise RuntimeFailure("the store is damaged")


async def test_an_image_that_cannot_be_looked_at(tmp_path: Path) -> None:
    async with running(Broken(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod("web"))
        await cluster.until(lambda: cluster.events("InspectFailed"))
        assert cluster.events("InspectFailed") == ['Failed to inspect image "app:1": the store is damaged']
        await cluster.until(lambda: (pod := cluster.pod()) is not None and pod.status.container_statuses)
        pod = cluster.pod()
        assert pod is not None
        waiting = pod.status.container_statuses[0].state.waiting
        assert (waiting.reason, waiting.message) == ("ImageInspectError", 'Failed to inspect image "app:1": the store is damaged')


class Foreign(HollowRuntime):
    uses_machine = True

    async def image(self, reference: str) -> Image:
        return replace(await super().image(reference), architecture="riscv64")


async def test_an_image_for_other_machines(tmp_path: Path) -> None:
    async with running(Foreign(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod("web"))
        await cluster.until(lambda: cluster.events("ArchitectureMismatch"))
        (words,) = cluster.events("ArchitectureMismatch")
        assert 'Image "app:1" is for riscv64' in words
