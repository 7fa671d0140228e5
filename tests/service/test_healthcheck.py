"""The health check answers by its exit code, as those want it who watch processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import grpc.aio
import pytest

from knarr.service.authentication import TokenTable
from knarr.service.certificates import CertificateAuthority
from knarr.service.component import Component
from knarr.service.healthcheck import main
from knarr.service.host import Host, ServerSettings


class Sleeper(Component):
    """Ready when it is told so."""

    name: ClassVar[str] = "sleeper"
    ready = False

    def register(self, server: grpc.aio.Server) -> list[str]:
        return []

    async def run(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def hosted(folder: Path, component: Component, *, mutual: bool = False) -> AsyncIterator[str]:
    authority = CertificateAuthority.create()
    authority.pair.save(folder, "ca")
    pair = authority.issue("sleeper", hosts=["127.0.0.1"])
    pair.save(folder, "server")
    host = Host(component, ServerSettings("127.0.0.1:0", pair, TokenTable({}), client_ca=folder / "ca.crt" if mutual else None))
    await host.start()
    running = asyncio.create_task(host.run())
    try:
        yield f"127.0.0.1:{host.port}"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def asked(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["healthcheck", address, "--ca", str(folder / "ca.crt"), "--timeout", "5"])
    return await asyncio.to_thread(main)


async def test_the_exit_code_follows_readiness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    component = Sleeper()
    async with asyncio.timeout(30), hosted(tmp_path, component) as address:
        while await asked(address, tmp_path, monkeypatch) != 1:
            pass
        assert f"{address} NOT_SERVING" in capsys.readouterr().err
        component.ready = True
        while await asked(address, tmp_path, monkeypatch) != 0:
            pass
        assert f"{address} SERVING" in capsys.readouterr().out
    assert await asked(address, tmp_path, monkeypatch) == 1
    assert f"{address} UNAVAILABLE" in capsys.readouterr().err


async def test_one_that_asks_for_a_certificate_is_shown_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    component = Sleeper()
    component.ready = True

    async def ask(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["healthcheck", address, *words, "--timeout", "5"])
        return await asyncio.to_thread(main)

    async with asyncio.timeout(30), hosted(tmp_path, component, mutual=True) as address:
        while await ask("--trust", str(tmp_path)) != 0:
            pass
        files = {"--ca": "ca.crt", "--cert": "server.crt", "--key": "server.key"}
        assert await ask(*(word for option, file in files.items() for word in (option, str(tmp_path / file)))) == 0
        capsys.readouterr()
        assert await ask("--ca", str(tmp_path / "ca.crt")) == 1
        assert f"{address} UNAVAILABLE" in capsys.readouterr().err


async def test_a_server_of_another_authority_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    component = Sleeper()
    component.ready = True
    async with asyncio.timeout(30), hosted(tmp_path, component) as address:
        CertificateAuthority.create().pair.save(tmp_path, "ca")
        assert await asked(address, tmp_path, monkeypatch) == 1
    assert "UNAVAILABLE" in capsys.readouterr().err


async def test_one_that_knows_no_health_service_does_not_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = CertificateAuthority.create()
    authority.pair.save(tmp_path, "ca")
    pair = authority.issue("other", hosts=["127.0.0.1"])
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    try:
        assert await asked(f"127.0.0.1:{port}", tmp_path, monkeypatch) == 1
        assert "UNAVAILABLE: the call was refused" in capsys.readouterr().err
    finally:
        await server.stop(0)


def test_it_imports_no_grpc() -> None:
    """A look would cost thrice as much."""
    code = "import sys, knarr.service.healthcheck; print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'google')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "[]\n"
