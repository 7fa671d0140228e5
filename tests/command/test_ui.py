"""`knarr ui` as a process: what it prints, whom it shows, and how it ends."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from services.command.page.serving import has_screen
from tests.apiserver.rest.live import LiveServer, running_server
from tests.support.cluster_client import ROOT

PATIENT_SECONDS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("cluster"), in_memory=True) as server:
        yield server


async def start(folder: Path, *options: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "services.command", "ui", "--data-dir", str(folder), "--no-browser", *options)
    return await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        # Whoever runs the tests in the background of a shell has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_until_it_is_interrupted_whoever_still_looks(cluster: LiveServer, tmp_path: Path, ending: signal.Signals) -> None:
    async with asyncio.timeout(PATIENT_SECONDS):
        page = await start(tmp_path, "--kubeconfig", str(cluster.kubeconfig))
        assert page.stdout is not None
        try:
            link = re.search(r"http://127\.0\.0\.1:\d+/login\?code=\S+", (await page.stdout.readline()).decode())
            assert link is not None
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
                async with browser.get(link[0]) as answer:
                    assert answer.status == 200
                # No data directory tells of components: nobody is asked.
                async with browser.get(answer.url.with_path("/parts")) as parts:
                    assert await parts.json() == []
                async with browser.get(answer.url.with_path("/live")) as stream:
                    assert b"event: all" in await stream.content.readline()
                    page.send_signal(ending)
                    assert await page.wait() == 0
        finally:
            if page.returncode is None:
                page.kill()
        # To the end of both: a pipe that is not read to its end outlives the loop.
        assert (await page.communicate())[1] == b""


@pytest.mark.parametrize(
    ("environment", "platform", "screen"),
    [
        ({"TERM": "xterm"}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"BROWSER": "firefox"}, "linux", True),
        ({}, "darwin", True),
    ],
)
def test_a_browser_is_opened_where_it_has_a_window(environment: dict[str, str], platform: str, screen: bool) -> None:
    assert has_screen(environment, platform) == screen


async def test_a_port_that_is_taken_and_a_cluster_that_is_not_there_are_told(cluster: LiveServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with asyncio.timeout(PATIENT_SECONDS):
            page = await start(tmp_path, "--kubeconfig", str(cluster.kubeconfig), "--port", port)
            _, said = await page.communicate()
            assert page.returncode == 1 and f"--port {port}: cannot listen" in said.decode()
    async with asyncio.timeout(PATIENT_SECONDS):
        page = await start(tmp_path / "none")
        _, said = await page.communicate()
        assert page.returncode == 1 and "`knarr up`" in said.decode()


def test_the_pages_process_loads_nothing_that_it_does_not_need_to_be_looked_at() -> None:
    """Commands, YAML, messages and gRPC's library would be a fifth of its memory, and more."""
    told = subprocess.check_output([sys.executable, "-c", "import sys, services.command.page.__main__; print(*sys.modules)"], text=True)
    assert not {"click", "yaml", "google.protobuf", "grpc", "cryptography", "numpy", "knarr.machinery"} & set(told.split())
    assert "services.web.face" in told.split()


MESSAGES = re.compile(r"await loaded\(\"(knarr\.api\.\w+\.v1\.\w+)\"\)")


def test_no_question_of_the_page_loads_the_messages_of_pods_and_nodes() -> None:
    """They would be 12 MB more as long as it lives."""
    modules = {name for file in (ROOT / "services/web").glob("*.py") for name in MESSAGES.findall(file.read_text())}
    assert {"knarr.api.scheduler.v1.explain_pb2", "knarr.api.scheduler.v1.what_if_pb2"} <= modules
    told = subprocess.check_output([sys.executable, "-c", f"import sys, {', '.join(sorted(modules))}; print(*sys.modules)"], text=True)
    assert not {"knarr.api.core.v1.core_pb2", "knarr.api.meta.v1.meta_pb2", "grpc"} & set(told.split())


async def test_a_kubeconfig_that_cannot_be_meant_is_told_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    for text in ("{}", "kind: Pod"):
        file.write_text(text)
        async with asyncio.timeout(PATIENT_SECONDS):
            page = await start(tmp_path, "--kubeconfig", str(file))
            out, said = await page.communicate()
        assert (page.returncode, out) == (1, b"") and said.decode().startswith(f"error: {file}: ") and said.count(b"\n") == 1
