"""The page of ``knarr ui`` on a cluster with a thousand pods: how soon a browser shows them, what its server holds and takes with five
viewers, each of which looks at the map."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.cluster import BIN, BenchCluster, cluster, resident_megabytes
from bench.result import Result

PODS, NODES, VIEWERS = 1000, 10, 5
# What the map asks again and again, and after how many seconds.
POLLED = {"/traffic": 2.0, "/parts": 5.0, "/cluster/apis/metrics.k8s.io/v1beta1/nodes": 15.0}
SETTLE_SECONDS, WATCHED_SECONDS = 15.0, 30.0
TICKS = 100
FIRST_LINK_SECONDS = 20.0
PAINTS = 5


async def page() -> list[Result]:
    async with cluster(f"--nodes={NODES}", runtime="hollow", datapath="userspace") as bench:
        await _fill(bench)
        async with _server(bench) as (process, link):
            paints = await _paints(link)
            await asyncio.sleep(SETTLE_SECONDS)
            async with _viewers(link.partition("/login")[0], paints.pop("cookie")):
                await asyncio.sleep(SETTLE_SECONDS)
                began = _seconds(process.pid)
                await asyncio.sleep(WATCHED_SECONDS)
                share = (_seconds(process.pid) - began) / WATCHED_SECONDS * 100
                held = resident_megabytes(process.pid)
    first, again = paints["first"], paints["again"]
    return [
        Result("page-first-paint", first, "s", "again, best of five", again, "≤ 1 s with 1,000 pods", first <= 1.0),
        Result("page-memory", held, "MB", "", 0.0, "≤ 60 MB with 1,000 pods and 5 viewers", held <= 60),
        Result("page-cpu", share, "% of a core", "", 0.0, "≤ 3 % with 5 viewers", share <= 3.0),
    ]


async def _fill(bench: BenchCluster) -> None:
    await bench.kubectl("create", "deployment", "web", "--image=web:1", f"--replicas={PODS}")
    await bench.kubectl("expose", "deployment", "web", "--port=80")
    await bench.kubectl("rollout", "status", "deployment/web", "--timeout=300s")


@asynccontextmanager
async def _server(bench: BenchCluster) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """``knarr ui`` and its first link."""
    command = [str(BIN / "knarr"), "ui", "--data-dir", str(bench.data_dir), "--no-browser"]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(FIRST_LINK_SECONDS):
            line = (await process.stdout.readline()).decode()
        yield process, line.split()[-1]
    finally:
        process.terminate()
        await process.wait()


async def _paints(link: str) -> dict[str, Any]:
    """Seconds from the request to a thousand pods on the screen of a browser that runs by now, and the session's cookie."""
    try:
        playwright = importlib.import_module("playwright.async_api")
    except ImportError:
        raise SystemExit("page-first-paint needs Playwright: scripts/install.sh --bench brings it") from None
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("page-first-paint needs Chromium: scripts/install.sh --bench brings it")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        screen = await browser.new_page()
        await screen.goto("about:blank")
        took = []
        for number in range(PAINTS):
            began = time.monotonic()
            await (screen.reload() if number else screen.goto(link))
            await screen.wait_for_selector(f"main .pod >> nth={PODS - 1}", timeout=60_000)
            took.append(time.monotonic() - began)
        (cookie,) = await screen.context.cookies()
        await browser.close()
    return {"first": took[0], "again": min(took[1:]), "cookie": {cookie["name"]: cookie["value"]}}


@asynccontextmanager
async def _viewers(origin: str, cookies: dict[str, str]) -> AsyncIterator[None]:
    """Five that take the event stream, and ask for what the map asks for."""
    async with aiohttp.ClientSession(cookies=cookies, timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def follow() -> None:
            async with session.get(f"{origin}/live") as answer:
                async for _ in answer.content.iter_any():
                    pass

        async def poll(path: str, seconds: float) -> None:
            while True:
                async with session.get(origin + path) as answer:
                    await answer.read()
                await asyncio.sleep(seconds)

        tasks = [asyncio.create_task(follow()) for _ in range(VIEWERS)]
        tasks += [asyncio.create_task(poll(path, seconds)) for path, seconds in POLLED.items() for _ in range(VIEWERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def _seconds(pid: int) -> float:
    """CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
