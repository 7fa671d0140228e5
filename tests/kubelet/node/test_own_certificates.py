"""A node's own certificates: asked for with a bootstrap token, renewed in time, and what comes in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.service.authentication import User
from knarr.service.files import write_whole
from knarr.service.keypair import KeptPair
from services.apiserver.rbac.defaults import defaults
from services.controller.component import ControllerManager
from services.controller.controllers.csrapproving.controller import CertificateApprovingController
from services.controller.controllers.csrsigning.controller import CertificateSigningController
from services.controller.settings import ControllerSettings
from services.kubelet.node.own_certificates import (
    PATIENT_SECONDS,
    NotIssued,
    OwnCertificate,
    client_certificate,
    pause,
    serving_certificate,
)
from tests.support.api import FaultyApi
from tests.support.rights import CONTROLLER
from tests.support.set_clock import SetClock
from tests.support.signing import signing
from tests.support.virtual_time import virtual_time

MACHINE = User("system:bootstrap:abcdef", groups=("system:bootstrappers", "system:authenticated"))
NODE = User("system:node:node-1", groups=("system:nodes", "system:authenticated"))
DAY = 86_400.0


class World:
    def __init__(self, api: FaultyApi, clock: SetClock, folder: Path) -> None:
        self.api, self.clock, self.folder = api, clock, folder

    def client(self, user: User = NODE) -> Client:
        return self.api.client(user)

    def own(self) -> OwnCertificate:
        return OwnCertificate("node-1", client_certificate(), self.folder, self.clock)

    def kept(self, name: str = "client") -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / f"{name}.crt").read_bytes())


@asynccontextmanager
async def world(folder: Path, *, signs: bool = True) -> AsyncIterator[World]:
    clock = SetClock()
    # Behind the beginning of the authority that signs.
    clock.at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    api = FaultyApi(clock)
    node = core.Node(metadata=meta.ObjectMeta(name="node-1"))
    node.status.addresses.add(type="InternalIP", address="192.0.2.11")
    api.seed(node, *defaults())
    controllers = (CertificateApprovingController, CertificateSigningController) if signs else ()
    settings = replace(ControllerSettings(), signing=signing())
    manager = ControllerManager(api.client(CONTROLLER), settings, clock=clock, controllers=controllers)
    running = asyncio.create_task(manager.run())
    try:
        yield World(api, clock, folder)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_a_machine_gets_its_first_one_by_its_token(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        own = w.own()
        assert own.is_due and not own.is_good
        await own.renew(w.client(MACHINE))
        assert own.is_good and not own.is_due
        assert w.kept().subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"
        assert (tmp_path / "client.key").stat().st_mode & 0o777 == 0o600
        KeptPair(tmp_path / "client.crt", tmp_path / "client.key")


@virtual_time
async def test_it_is_renewed_before_it_expires_and_shown_without_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        own = w.own()
        await own.renew(w.client(MACHINE))
        first, shown = w.kept(), KeptPair(tmp_path / "client.crt", tmp_path / "client.key")
        running = asyncio.create_task(own.run(w.client()))
        for days, renewed in ((200, False), (90, False), (20, True)):
            w.clock.move(days * DAY)
            await asyncio.sleep(180)
            assert (w.kept() != first) is renewed
        assert shown.latest().certificate == (tmp_path / "client.crt").read_bytes()
        assert own.is_good and not own.is_due
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("due", "ends", "seconds"),
    [(7200, 9000, 60), (40, 9000, 40), (1, 9000, 5), (0, 120, 60), (-30, 60, 30), (-200, 8, 5), (-200, -100, 5)],
)
def test_what_is_good_for_minutes_is_looked_at_in_time(due: int, ends: int, seconds: float) -> None:
    now = datetime.now(UTC)
    assert pause(now, now + timedelta(seconds=due), now + timedelta(seconds=ends)) == seconds


@virtual_time
@pytest.mark.parametrize("written", range(5))
async def test_who_dies_while_replacing_is_the_node_still(written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number of files it had written by then."""
    async with world(tmp_path) as w:
        await w.own().renew(w.client(MACHINE))
        left = written

        def write(path: Path, data: bytes, *, mode: int) -> None:
            nonlocal left
            if not left:
                raise OSError("the power is gone")
            left -= 1
            write_whole(path, data, mode=mode)

        with monkeypatch.context() as patched:
            patched.setattr("knarr.service.keypair.write_whole", write)
            if written < 4:
                with pytest.raises(OSError, match="the power is gone"):
                    await w.own().renew(w.client())
            else:
                await w.own().renew(w.client())
        assert w.own().is_good and not w.own().is_due
        KeptPair(tmp_path / "client.crt", tmp_path / "client.key")


@virtual_time
async def test_serving_certificates_name_the_node(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await OwnCertificate("node-1", serving_certificate("node-1"), tmp_path, w.clock).renew(w.client())
        names = w.kept("serving").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(name.value) for name in names] == ["node-1"]


@virtual_time
async def test_what_comes_to_nothing_is_told_and_keeps_the_former_one(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        own = w.own()
        await own.renew(w.client(MACHINE))
        before = (tmp_path / "client.crt").read_bytes()

        async def decide(kind: str) -> None:
            while True:
                for found in w.api.all(certificates.CertificateSigningRequest):
                    if not found.status.conditions:
                        found.status.conditions.add(type=kind, status="True", reason="ByHand", message="not you")
                        await w.client(User("admin", groups=("system:masters",))).update(found, subresource="approval")
                        return
                await asyncio.sleep(0.1)

        stranger = OwnCertificate("node-1", serving_certificate("192.0.2.99"), tmp_path, w.clock)
        denying = asyncio.create_task(decide("Denied"))
        with pytest.raises(NotIssued, match="Denied: not you"):
            await stranger.renew(w.client())
        await denying
        assert (tmp_path / "client.crt").read_bytes() == before and not (tmp_path / "serving.key").exists()


@virtual_time
async def test_nobody_is_waited_for_for_ever(tmp_path: Path) -> None:
    async with world(tmp_path, signs=False) as w:
        began = asyncio.get_running_loop().time()
        with pytest.raises(NotIssued, match="nobody approved and signed"):
            await w.own().renew(w.client(MACHINE))
        assert asyncio.get_running_loop().time() - began == pytest.approx(PATIENT_SECONDS, abs=2)
        assert not (tmp_path / "client.key").exists()


@virtual_time
async def test_one_that_is_damaged_or_of_another_time_is_made_anew(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        own = w.own()
        await own.renew(w.client(MACHINE))
        key = (tmp_path / "client.key").read_bytes()
        (tmp_path / "client.key").write_bytes(b"nothing")
        assert own.is_due and not own.is_good
        (tmp_path / "client.key").write_bytes(key)
        assert own.is_good
        w.clock.move(-2 * 3600)
        assert own.is_due and not own.is_good
        w.clock.move(366 * DAY + 2 * 3600)
        assert own.is_due and not own.is_good
