"""How etcd is reached: endpoints as addresses, TLS, errors in plain words."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.machinery.errors import StatusError
from knarr.service.certificates import CertificateAuthority
from services.apiserver.storage import members
from services.apiserver.storage.connection import EtcdTls, address, transport
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.store import Put, Transaction
from services.apiserver.storage.wire.channel import Address
from tests.support.etcd import ETCD
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("10.0.0.1:2379", Address("10.0.0.1", 2379)),
        ("https://10.0.0.1:2379/", Address("10.0.0.1", 2379)),
        ("[fd00::1]:2380", Address("fd00::1", 2380)),
        ("etcd.example:2379", Address("etcd.example", 2379)),
        ("unix:etcd.sock", Address(path="etcd.sock")),
        ("unix:///run/etcd.sock", Address(path="/run/etcd.sock")),
    ],
)
def test_an_endpoint_becomes_an_address(endpoint: str, expected: Address) -> None:
    assert address(endpoint) == expected


@pytest.mark.parametrize(
    ("endpoints", "tls", "word"),
    [
        (("unix:etcd.sock",), None, "unix"),
        (("10.0.0.1:2379",), None, "plain"),
        (("10.0.0.1:2379",), EtcdTls(Path("ca")), "tls"),
        (("10.0.0.1:2379", "10.0.0.2:2379"), EtcdTls(Path("ca"), Path("cert"), Path("key")), "mutual-tls"),
    ],
    ids=["unix", "plain", "tls", "mutual-tls"],
)
def test_the_way_to_etcd_in_a_word(endpoints: tuple[str, ...], tls: EtcdTls | None, word: str) -> None:
    assert transport(endpoints, tls) == word


async def test_an_etcd_that_is_not_there_is_named_in_bounded_time() -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    store = EtcdStore(EtcdSettings((endpoint,), timeout_seconds=0.2))
    try:
        async with asyncio.timeout(5):
            with pytest.raises(StatusError, match=f"etcd at {endpoint} did not answer in time") as caught:
                await store.get("/registry/a")
        assert caught.value.code == 504 and not caught.value.status.details.retry_after_seconds
    finally:
        await store.close()


async def test_a_full_disk_is_told_as_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    store = EtcdStore(EtcdSettings((endpoint,), timeout_seconds=0.2, data_folders=(tmp_path,)))
    used = shutil.disk_usage(tmp_path)
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=3 << 20))
        for call in (store.get("/registry/a"), store.commit(Transaction({}, [Put("/registry/a", b"")]))):
            with pytest.raises(StatusError, match=rf"whose disk is full \(3 MiB are free in {tmp_path}: delete something there\)"):
                await call
        assert "is full (3 MiB are free in" in await store.trouble()
        monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=1 << 40))
        with pytest.raises(StatusError):
            await store.trouble()
        with pytest.raises(StatusError, match=f"etcd at {endpoint} did not answer in time"):
            await store.get("/registry/a")
    finally:
        await store.close()


class TlsEtcd:
    """An etcd that speaks TLS only, by certificates in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self._peer = folder, free_port(), f"http://127.0.0.1:{free_port()}"
        self.tls = EtcdTls(folder / "ca.crt", folder / "client.crt", folder / "client.key")
        self._process: subprocess.Popen[bytes] | None = None

    def certify(self) -> None:
        """Gives it and its clients an authority of their own; what was there is void."""
        authority = CertificateAuthority.create()
        (self.folder / "ca.crt").write_bytes(authority.pair.certificate)
        for name in ("server", "client"):
            authority.issue(name, hosts=["127.0.0.1"]).save(self.folder, name)

    def start(self) -> None:
        client = f"https://127.0.0.1:{self.port}"
        command = [
            ETCD, "--data-dir", str(self.folder / "data"), "--name", "t", "--logger", "zap", "--log-level", "error",
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", self._peer,
            "--initial-advertise-peer-urls", self._peer, "--initial-cluster", f"t={self._peer}",
            "--cert-file", str(self.folder / "server.crt"), "--key-file", str(self.folder / "server.key"),
            "--client-cert-auth", "--trusted-ca-file", str(self.folder / "ca.crt"),
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)


@pytest.fixture
def tls_etcd(tmp_path: Path) -> Iterator[TlsEtcd]:
    etcd = TlsEtcd(tmp_path)
    etcd.certify()
    etcd.start()
    yield etcd
    etcd.stop()


@pytest.mark.etcd
async def test_tls_and_the_endpoint_that_lives(tls_etcd: TlsEtcd) -> None:
    endpoints = f"127.0.0.1:{free_port()}", f"127.0.0.1:{tls_etcd.port}"
    store = EtcdStore(EtcdSettings(endpoints, tls_etcd.tls, timeout_seconds=15))
    try:
        outcome = await store.commit(Transaction({"/registry/a": 0}, [Put("/registry/a", b"1")]))
        item = await store.get("/registry/a")
        assert outcome.succeeded and item is not None and item.value == b"1"
        refused = await store.commit(Transaction({"/registry/a": 0}, [Put("/registry/a", b"2")]))
        assert not refused.succeeded and refused.current["/registry/a"].revision == outcome.revision
    finally:
        await store.close()


@pytest.mark.etcd
async def test_replaced_certificates_are_shown_without_a_restart(tls_etcd: TlsEtcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.02)
    store = EtcdStore(EtcdSettings((f"127.0.0.1:{tls_etcd.port}",), tls_etcd.tls, timeout_seconds=15))
    try:
        outcome = await store.commit(Transaction({}, [Put("/registry/a", b"1")]))
        stream = store.watch("", outcome.revision + 1)
        assert (await anext(stream)).changes == []
        await asyncio.to_thread(tls_etcd.stop)
        tls_etcd.certify()
        await asyncio.to_thread(tls_etcd.start)
        with pytest.raises(StatusError):
            await anext(stream)
        async with asyncio.timeout(30):
            while True:
                try:
                    item = await store.get("/registry/a")
                    break
                except StatusError:
                    await asyncio.sleep(0.1)
        assert item is not None and item.value == b"1"
    finally:
        await store.close()


async def test_files_that_are_no_certificate_and_key_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.02)
    etcd = TlsEtcd(tmp_path)
    etcd.certify()
    store = EtcdStore(EtcdSettings(("127.0.0.1:1",), etcd.tls))
    try:
        before = store._members._members
        (tmp_path / "client.key").write_bytes(b"half of a k")
        async with asyncio.timeout(10):
            while "the former are shown on" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert store._members._members is before
        etcd.certify()
        async with asyncio.timeout(10):
            while store._members._members is before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await store.close()
