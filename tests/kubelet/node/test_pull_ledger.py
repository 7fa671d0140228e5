"""Who may use the images of a node: rules, records, what a crash leaves, and pods that share a node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.image_verification import DEFAULT_VERIFICATION, ImageVerification, image_verification
from services.kubelet.node.files import NoFiles
from services.kubelet.node.keyring import Credential, Owner
from services.kubelet.node.pull_files import PullFiles
from services.kubelet.node.pull_ledger import NotKept, PullLedger
from services.kubelet.node.pull_records import MOST, Grant, PullRecord, PullSecret, file_name, parse_record, record_text
from services.kubelet.runtime.port import Image, LocalImage, RuntimeFailure, RuntimeUnavailable
from tests.kubelet.node.test_keyring import login, secret
from tests.kubelet.support import FiledRuntime, make_pod, running
from tests.support.set_clock import SetClock

NOW = datetime(2030, 1, 1, tzinfo=UTC)
APP, ID = "r.io/team/app:1", "sha256:1"


def owned(name: str, user: str = "u") -> Credential:
    return Credential(login(user), secret=Owner(f"uid-{name}", "default", name))


def of_account(name: str) -> Credential:
    return Credential(login(name), account=Owner(f"uid-{name}", "default", name))


class Shown:
    """What a pod has; ``asked`` whether programs were run for it."""

    def __init__(self, *credentials: Credential) -> None:
        self.of_secrets = [one for one in credentials if one.secret is not None]
        self.accounts = [one for one in credentials if one.account is not None]
        self.asked = False

    async def of_accounts(self) -> list[Credential]:
        self.asked = True
        return self.accounts


def ledger_of(folder: Path, rules: ImageVerification = DEFAULT_VERIFICATION) -> PullLedger:
    return PullLedger(PullFiles(folder), NoFiles(), rules, SetClock())


async def next_ledger(folder: Path, *here: LocalImage) -> PullLedger:
    """Of the kubelet that comes after; ``here`` are the images of the node."""
    ledger = ledger_of(folder)
    await ledger.load()

    async def images() -> tuple[LocalImage, ...]:
        return here

    await ledger.settle(images)
    return ledger


async def pulled(ledger: PullLedger, credential: Credential | None, reference: str = APP, image_id: str = ID) -> None:
    async with ledger.pulling(reference):
        await ledger.note(reference, image_id, credential)


LISTED = image_verification("NeverVerifyAllowlistedImages", ("r.io/team/*", "busybox", "r.io/one"))


@pytest.mark.parametrize(
    ("rules", "repository", "pulled_here", "asks"),
    [
        (ImageVerification("NeverVerify"), "r.io/app", True, False),
        (ImageVerification(), "r.io/app", True, True),
        (ImageVerification(), "r.io/app", False, False),
        (ImageVerification("AlwaysVerify"), "r.io/app", False, True),
        (LISTED, "r.io/team/app", True, False),
        (LISTED, "r.io/teams/app", False, True),
        (LISTED, "docker.io/library/busybox", False, False),
        (LISTED, "r.io/one", False, False),
        (LISTED, "r.io/one/more", False, True),
    ],
)
def test_of_which_images_logins_are_asked(rules: ImageVerification, repository: str, pulled_here: bool, asks: bool) -> None:
    assert rules.asks(repository, pulled_here) is asks


@pytest.mark.parametrize("pattern", ["", "*", "/*", "r.io/*/app", "r.io/app:1", "r.io/app*", " r.io/app", "r.io/app@sha256:" + "0" * 64])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="repository"):
        image_verification("NeverVerifyAllowlistedImages", (pattern,))


def test_a_list_that_nobody_looks_at_is_refused() -> None:
    with pytest.raises(ValueError, match="is for the policy NeverVerifyAllowlistedImages"):
        image_verification("AlwaysVerify", ("r.io/app",))


@pytest.mark.parametrize(
    ("had_by", "shows", "must_pull"),
    [
        (None, (), False),
        (Credential(login("node")), (), False),
        (owned("a"), (), True),
        (owned("a"), (owned("a"),), False),
        (owned("a"), (owned("a", "renewed"),), False),
        (owned("a"), (owned("b"),), False),
        (owned("a"), (owned("b", "other"),), True),
        (owned("a"), (of_account("robot"),), True),
        (of_account("robot"), (), True),
        (of_account("robot"), (owned("a"),), True),
        (of_account("robot"), (of_account("robot"),), False),
        (of_account("robot"), (of_account("other"),), True),
    ],
)
async def test_who_may_use_what_was_pulled(
    tmp_path: Path, had_by: Credential | None, shows: tuple[Credential, ...], must_pull: bool
) -> None:
    """A Secret by its name or by the login in it, an account by its uid; also for the kubelet that comes after."""
    await pulled(ledger_of(tmp_path), had_by)
    for ledger in (await next_ledger(tmp_path), await next_ledger(tmp_path)):
        assert await ledger.must_pull(APP, ID, Shown(*shows)) is must_pull
        assert await ledger.must_pull("r.io/team/app:other-tag", ID, Shown(*shows)) is must_pull


async def test_by_another_name_it_must_be_shown_anew(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path)
    await pulled(ledger, owned("a"))
    assert await ledger.must_pull("r.io/other:1", ID, Shown()) and not await ledger.must_pull("r.io/other:1", "sha256:loaded", Shown())


@pytest.mark.parametrize(("policy", "must_pull"), [("NeverVerifyPreloadedImages", False), ("AlwaysVerify", True)])
async def test_what_everybody_may_have_is_everybodys_by_a_name_that_it_was_given_here(tmp_path: Path, policy: str, must_pull: bool) -> None:
    """As one that was built or loaded, and has the same content; not where it was also pulled by that name."""
    ledger = ledger_of(tmp_path, ImageVerification(policy))
    await pulled(ledger, None)
    assert await ledger.must_pull("loaded:1", ID, Shown()) is must_pull
    await pulled(ledger, owned("a"), "r.io/private:1")
    assert await ledger.must_pull("r.io/private:1", ID, Shown())


async def test_programs_are_run_for_none_but_what_was_had_by_them(tmp_path: Path) -> None:
    ledger, shown = ledger_of(tmp_path), Shown(owned("b", "other"), of_account("robot"))
    await pulled(ledger, owned("a"))
    assert await ledger.must_pull(APP, ID, shown) and not shown.asked
    await pulled(ledger, of_account("robot"))
    assert not await ledger.must_pull(APP, ID, shown) and shown.asked


async def test_a_secret_that_is_known_by_its_login_is_known_by_its_name_from_then_on(tmp_path: Path) -> None:
    await pulled(ledger_of(tmp_path), owned("a"))
    assert not await (await next_ledger(tmp_path)).must_pull(APP, ID, Shown(owned("b")))
    assert not await (await next_ledger(tmp_path)).must_pull(APP, ID, Shown(owned("b", "renewed")))


def test_a_record_is_bounded() -> None:
    grant = Grant()
    for number in range(MOST + 5):
        grant = grant.with_credential(owned(str(number), str(number)))
    assert len(grant.secrets) == MOST and grant.full and grant.secrets[-1].owner.name == str(MOST + 4)
    assert grant.with_credential(owned(str(MOST), str(MOST))) is grant
    assert grant.with_credential(None) == Grant(everybody=True)


def test_a_record_as_kubernetes_writes_it() -> None:
    told = {
        "kind": "ImagePulledRecord",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "lastUpdatedTime": "2030-01-01T00:00:00Z",
        "imageRef": ID,
        "credentialMapping": {
            "r.io/a": {"nodePodsAccessible": True},
            "r.io/b": {
                "kubernetesSecrets": [{"uid": "uid-s", "namespace": "default", "name": "s", "credentialHash": "h"}],
                "kubernetesServiceAccounts": [{"uid": "uid-r", "namespace": "default", "name": "r"}],
            },
        },
    }
    secrets = (PullSecret(Owner("uid-s", "default", "s"), "h"),)
    grants = {"r.io/a": Grant(everybody=True), "r.io/b": Grant(False, secrets, (Owner("uid-r", "default", "r"),))}
    assert json.loads(record_text(PullRecord(ID, NOW, grants))) == told
    assert parse_record(json.dumps(told).encode()) == PullRecord(ID, NOW, grants)


@pytest.mark.parametrize("error", [asyncio.CancelledError, RuntimeUnavailable])
async def test_a_pull_that_nobody_saw_end_is_of_nobody(tmp_path: Path, error: type[BaseException]) -> None:
    """The kubelet was cut off, or the engine went away: the image may have come, by whose login is not known."""
    with pytest.raises(error):
        async with ledger_of(tmp_path).pulling(APP):
            raise error
    before = await next_ledger(tmp_path, LocalImage(("other:1",), 1, "sha256:other"))
    assert not await before.must_pull(APP, ID, Shown()), "it had not come"
    with pytest.raises(error):
        async with ledger_of(tmp_path).pulling(APP):
            raise error
    here = LocalImage(("r.io/team/app@sha256:d", APP), 1, ID)
    for ledger in (await next_ledger(tmp_path, here), await next_ledger(tmp_path, here)):
        assert await ledger.must_pull(APP, ID, Shown(owned("a"))) and await ledger.must_pull("r.io/other-name", ID, Shown())
    await pulled(ledger, owned("a"))
    assert not await (await next_ledger(tmp_path, here)).must_pull(APP, ID, Shown(owned("a")))


async def test_while_it_is_pulled_it_is_not_for_all(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path)
    async with ledger.pulling(APP):
        assert await ledger.must_pull(APP, ID, Shown())
        with pytest.raises(RuntimeFailure):
            async with ledger.pulling(APP):
                raise RuntimeFailure("refused")
        assert await ledger.must_pull(APP, ID, Shown()), "the other one goes on"


async def test_what_was_refused_and_loaded_then_is_for_all(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path)
    with pytest.raises(RuntimeFailure):
        async with ledger.pulling(APP):
            raise RuntimeFailure("refused")
    assert not await ledger.must_pull(APP, ID, Shown())
    assert not await (await next_ledger(tmp_path, LocalImage((APP,), 1, ID))).must_pull(APP, ID, Shown())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"\xff", record_text(PullRecord("sha256:other", NOW))])
async def test_a_record_that_nobody_can_read_lets_nobody_in(tmp_path: Path, text: bytes) -> None:
    await pulled(ledger_of(tmp_path), None)
    (path,) = (tmp_path / "image_manager/pulled").iterdir()
    assert (path.name, path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (file_name(ID), 0o600, 0o700)
    path.write_bytes(text)
    (path.parent / f".{path.name}.0123abcd").write_bytes(b"half")
    ledger = await next_ledger(tmp_path)
    assert await ledger.must_pull(APP, ID, Shown()) and [found.name for found in path.parent.iterdir()] == [path.name]
    await pulled(ledger, None)
    assert not await (await next_ledger(tmp_path)).must_pull(APP, ID, Shown())


class Full(PullFiles):
    """A disk that is full for what ``full`` names."""

    full: str = ""

    def write_intent(self, reference: str) -> None:
        self._refuse("intent")
        super().write_intent(reference)

    def write_record(self, record: PullRecord) -> None:
        self._refuse("record")
        super().write_record(record)

    def read(self) -> Any:
        self._refuse("read")
        return super().read()

    def _refuse(self, what: str) -> None:
        if what == self.full:
            raise OSError(28, "No space left on device")


async def test_on_a_full_disk_nothing_is_pulled_for_which_nothing_can_be_kept(tmp_path: Path) -> None:
    files = Full(tmp_path)
    ledger = PullLedger(files, NoFiles(), DEFAULT_VERIFICATION, SetClock())
    files.full = "intent"
    with pytest.raises(NotKept, match=r'image pull intent for container image "r.io/team/app:1": .*No space left'):
        await pulled(ledger, None)
    files.full = "record"
    await pulled(ledger, None)
    assert not await ledger.must_pull(APP, ID, Shown()), "this kubelet knows it"
    here = LocalImage((APP,), 1, ID)
    assert await (await next_ledger(tmp_path, here)).must_pull(APP, ID, Shown()), "the next one does not"
    files.full = "read"
    await ledger.load()
    assert await ledger.must_pull("other:1", "sha256:other", Shown()), "what cannot be read may have been pulled"
    files.full = ""
    assert not await ledger.must_pull("other:1", "sha256:other", Shown()), "it is read as soon as that goes"


class SlowReading(NoFiles):
    """Reads, and is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.has_read, self.go_on = asyncio.Event(), asyncio.Event()

    async def call(self, work: Any, *arguments: Any, **options: Any) -> Any:
        found = work(*arguments, **options)
        if not arguments:
            self.has_read.set()
            await self.go_on.wait()
        return found


async def test_what_is_pulled_while_records_are_read_again_is_not_forgotten(tmp_path: Path) -> None:
    """It would pass for an image that was there already, which is for all."""
    files, node_files = Full(tmp_path), SlowReading()
    ledger = PullLedger(files, node_files, DEFAULT_VERIFICATION, SetClock())
    files.full = "read"
    await ledger.load()
    files.full = ""
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(ledger.must_pull("other:1", "sha256:other", Shown()))
        await node_files.has_read.wait()
        tasks.create_task(pulled(ledger, owned("a")))
        await asyncio.sleep(0)
        node_files.go_on.set()
    assert await ledger.must_pull(APP, ID, Shown()) and not await ledger.must_pull(APP, ID, Shown(owned("a")))


async def test_records_go_with_their_images(tmp_path: Path) -> None:
    clock = SetClock()
    ledger = PullLedger(PullFiles(tmp_path), NoFiles(), DEFAULT_VERIFICATION, clock)
    await pulled(ledger, owned("a"), "gone:1", "sha256:gone")
    await pulled(ledger, owned("a"))
    with pytest.raises(RuntimeUnavailable):
        async with ledger.pulling("never-came:1"):
            raise RuntimeUnavailable("away")
    (tmp_path / "image_manager/pulled" / file_name("sha256:broken")).write_bytes(b"")
    await ledger.load()
    clock.move(1)

    async def images() -> list[LocalImage]:
        await pulled(ledger, owned("a"), "new:1", "sha256:new")
        return [LocalImage((APP,), 1, ID)]

    await ledger.prune(images)
    kept = {path.name for path in (tmp_path / "image_manager").glob("*/*")}
    assert kept == {file_name(ID), file_name("sha256:new")}, "what came while it was listed is not among them"


class Private(FiledRuntime):
    """A registry whose images are one user's; none is here before it is pulled."""

    def __init__(self) -> None:
        super().__init__("10.244.0.0/24")
        self.here: set[str] = set()

    async def image(self, reference: str) -> Image:
        self.missing_images = set() if reference in self.here else {reference}
        return await super().image(reference)

    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        if (auth or {}).get("username") != "alice":
            raise RuntimeFailure("pull access denied")
        self.here.add(reference)
        self.missing_images.discard(reference)
        return await super().pull(reference, auth)


def asking(name: str, policy: str, *secrets: str) -> core.Pod:
    pod = make_pod(name, image_pull_secrets=[core.LocalObjectReference(name=one) for one in secrets])
    pod.spec.containers[0].image, pod.spec.containers[0].image_pull_policy = APP, policy
    return pod


async def test_a_pod_without_the_secret_has_not_what_another_pulled(tmp_path: Path) -> None:
    runtime = Private()

    def waits(name: str) -> tuple[str, str] | None:
        found = cluster.pod(name)
        states = [status.state.waiting for status in found.status.container_statuses] if found is not None else []
        return next(((state.reason, state.message) for state in states if state.message), None)

    async with running(runtime, tmp_path) as cluster:
        for name, user in (("right", "alice"), ("wrong", "bob")):
            await cluster.client.create(secret(name, {"r.io": login(user)}))
        await cluster.client.create(asking("owner", "IfNotPresent", "wrong", "right"))
        await cluster.ready("owner")
        for number, (policy, secrets) in enumerate([("IfNotPresent", ()), ("Never", ()), ("IfNotPresent", ("wrong",)), ("Always", ())]):
            await cluster.client.create(asking(f"stranger-{number}", policy, *secrets))
        assert await cluster.until(lambda: waits("stranger-0")) == ("ErrImagePull", "pull access denied")
        never = f'Container image "{APP}" is not present with pull policy of Never'
        assert await cluster.until(lambda: waits("stranger-1")) == ("ErrImageNeverPull", never)
        assert await cluster.until(lambda: waits("stranger-2")) == ("ErrImagePull", "pull access denied")
        # That the image is here is nobody's who may not have it.
        assert await cluster.until(lambda: waits("stranger-3")) == ("ErrImagePull", "pull access denied")
        for number, policy in enumerate(("IfNotPresent", "Never")):
            await cluster.client.create(asking(f"friend-{number}", policy, "right"))
            await cluster.ready(f"friend-{number}")
        assert runtime.pulled == [APP]
        await cluster.client.create(asking("forgetful", "Always", "lost", "right"))
        await cluster.ready("forgetful")
        words = "Unable to retrieve some image pull secrets (lost); attempting to pull the image may not succeed."
        assert cluster.events("FailedToRetrieveImagePullSecret") == [words]
    again = Private()
    again.here, again.pulled = {APP}, [APP]
    async with running(again, tmp_path) as cluster:
        await cluster.client.create(asking("stranger", "Never"))
        assert await cluster.until(lambda: waits("stranger")) == ("ErrImageNeverPull", never)
