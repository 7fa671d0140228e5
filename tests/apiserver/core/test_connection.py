"""How etcd is reached: endpoints as gRPC targets, TLS, errors in plain words."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from knarr.machinery.errors import StatusError
from knarr.service.certificates import CertificateAuthority
from services.apiserver.storage.connection import EtcdTls, target
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.store import Put, Transaction
from tests.support.etcd import ETCD
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("10.0.0.1:2379", "ipv4:10.0.0.1:2379"),
        ("https://10.0.0.1:2379/", "ipv4:10.0.0.1:2379"),
        ("[fd00::1]:2379", "ipv6:[fd00::1]:2379"),
        ("etcd.example:2379", "dns:///etcd.example:2379"),
        ("unix:etcd.sock", "unix:etcd.sock"),
    ],
)
def test_an_endpoint_becomes_a_target(endpoint: str, expected: str) -> None:
    assert target(endpoint) == expected


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
    store = EtcdStore(EtcdSettings((endpoint,), timeout_seconds=0.2, data_folder=tmp_path))
    used = shutil.disk_usage(tmp_path)
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=3 << 20))
        for call in (store.get("/registry/a"), store.commit(Transaction({}, [Put("/registry/a", b"")]))):
            with pytest.raises(StatusError, match=rf"whose disk is full \(3 MiB are free in {tmp_path}: delete something there\)"):
                await call
        monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=1 << 40))
        with pytest.raises(StatusError, match=f"etcd at {endpoint} did not answer in time"):
            await store.get("/registry/a")
    finally:
        await store.close()


@pytest.mark.etcd
async def test_tls_and_the_endpoint_that_lives(tmp_path: Path) -> None:
    authority = CertificateAuthority.create()
    (tmp_path / "ca.crt").write_bytes(authority.pair.certificate)
    for name in ("server", "client"):
        pair = authority.issue(name, hosts=["127.0.0.1"])
        (tmp_path / f"{name}.crt").write_bytes(pair.certificate)
        (tmp_path / f"{name}.key").write_bytes(pair.key)
    port, dead = free_port(), free_port()
    client, peer = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    command = [
        ETCD, "--data-dir", str(tmp_path / "data"), "--name", "t", "--logger", "zap", "--log-level", "error",
        "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", f"t={peer}",
        "--cert-file", str(tmp_path / "server.crt"), "--key-file", str(tmp_path / "server.key"),
        "--client-cert-auth", "--trusted-ca-file", str(tmp_path / "ca.crt"),
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:  # noqa: ASYNC220
        tls = EtcdTls(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
        store = EtcdStore(EtcdSettings((f"127.0.0.1:{dead}", f"127.0.0.1:{port}"), tls, timeout_seconds=15))
        try:
            outcome = await store.commit(Transaction({"/registry/a": 0}, [Put("/registry/a", b"1")]))
            item = await store.get("/registry/a")
            assert outcome.succeeded and item is not None and item.value == b"1"
            refused = await store.commit(Transaction({"/registry/a": 0}, [Put("/registry/a", b"2")]))
            assert not refused.succeeded and refused.current["/registry/a"].revision == outcome.revision
        finally:
            await store.close()
            process.terminate()
