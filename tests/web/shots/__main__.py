"""Takes the pictures of docs/images, each view of the page on a real cluster: ``python -m tests.web.shots``, which is ``make screenshots``.

A cluster of its own with three nodes and Docker, the example and a few things that go wrong. What can be is the same each time: names,
sizes, order; addresses, times and the ends of pods' names are not. Pictures are drawn with few colours, where there is `pngquant`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.service.tasks import cancel
from services.apiserver.webhooks.kubeconfig import read_remote
from services.command.parts import ClusterParts
from services.standalone.files import Files
from services.web.api import Access, Api
from services.web.server import PageServer
from tests.support.browser import chromium
from tests.support.engine import ROOT, ensure_image
from tests.support.knarr_cluster import KnarrCluster

IMAGES = ROOT / "docs/images"
WIDTH, HEIGHT = 1360, 820
PATIENT_MS = 60_000
# Plots need some samples, a line of the traffic two looks.
USED_SECONDS = 75.0
COLOURS = "64"


class Harbour(KnarrCluster):
    """Three nodes on one machine."""

    @property
    def options(self) -> list[str]:
        return [*super().options, "--nodes=3", f"--node-cidr=10.{200 + self.offset}.1.0/24", "--node-name=harbour"]


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is taken: by whom, in which colours, how high."""

    language: str = "en"
    theme: str = "light"
    height: int = HEIGHT


@dataclass(frozen=True, slots=True)
class Shot:
    """``show`` brings the page to what is to be seen. Several of one look are taken one after the other in one browser."""

    name: str
    show: Callable[[Any], Awaitable[None]]
    look: Look = Look()


def opened(what: str, tab: str = "") -> Callable[[Any], Awaitable[None]]:
    """Opens an object on the map: a pod by the beginning of its name, a Service, workload or node by its words."""

    async def show(screen: Any) -> None:
        await view(screen, "map")
        await screen.click(what)
        if tab:
            await screen.click(f"aside [role=tab]:text-is('{tab}')")

    return show


async def view(screen: Any, name: str) -> None:
    """Goes to one of the views, by its place: their names are words of a language."""
    if await screen.locator("aside").count():
        await screen.locator("aside .bar button").click()
    await screen.click(f"header nav button >> nth={['map', 'controllers', 'timeline', 'learn'].index(name)}")


def pod(name: str) -> str:
    return f"main .pod[aria-label^='default/{name}'] >> nth=0"


def deployment(name: str) -> str:
    return f"main button.link:has-text('Deployment default/{name} (') >> nth=0"


def named(words: str) -> str:
    return f"main button.link:has(h3:text-is('{words}')) >> nth=0"


async def the_map(screen: Any) -> None:
    await view(screen, "map")
    # Rates come with the second look.
    await screen.wait_for_selector("svg.traffic .busy-edge")


async def traffic(screen: Any) -> None:
    await the_map(screen)
    await screen.locator("#traffic").evaluate("node => node.scrollIntoView()")
    await screen.evaluate("scrollBy(0, -60)")


async def why_pending(screen: Any) -> None:
    await opened(pod("giant"))(screen)
    await screen.wait_for_selector("aside table")


async def why_not_reached(screen: Any) -> None:
    await opened(named("default/vault"))(screen)
    place = screen.locator("aside select >> nth=0")
    visitor = await place.locator("option:has-text('default/visitor') >> nth=0").text_content()
    await place.select_option(visitor)
    await screen.click("aside .tabs:not([role]) button")
    await screen.wait_for_selector("aside .steps .bad")


async def why_restarted(screen: Any) -> None:
    await opened(pod("stumbling"), "Why restarted")(screen)
    await screen.wait_for_selector("aside pre:has-text('no such file')")


async def controllers(screen: Any) -> None:
    await view(screen, "controllers")
    await screen.wait_for_selector("main table >> nth=1")


async def timeline(screen: Any) -> None:
    await view(screen, "timeline")
    await screen.click("main .changes button:has-text('Deployment default/hello') >> nth=0")
    await screen.wait_for_selector("main .changes td")


async def then(screen: Any) -> None:
    await view(screen, "timeline")
    await screen.locator("main .changes button:has-text('Deployment default/hello')").last.click()
    await screen.click("main .changes li > button:not(.link)")
    await screen.wait_for_selector("main .notice")
    await screen.click("header nav button >> nth=0")


async def chain(screen: Any) -> None:
    await screen.evaluate("scrollTo(0, 0)")
    await opened(pod("hello"), "From apply to ready")(screen)
    await screen.wait_for_selector("aside table")


async def what_if(screen: Any) -> None:
    await opened(named("harbour-2"), "What if")(screen)
    await screen.click("aside button:has-text('Drain')")
    await screen.wait_for_selector("dialog td")
    await screen.wait_for_selector("dialog [role=status] p")


async def logs(screen: Any) -> None:
    await opened(pod("hello"), "Logs")(screen)
    await screen.wait_for_selector("aside pre:has-text('GET')")


async def terminal(screen: Any) -> None:
    await opened(pod("hello"), "Terminal")(screen)
    await screen.wait_for_selector("aside .xterm-rows:has-text('#')")
    for line in ("hostname", "ps", "wget -qO- http://hello"):
        await screen.keyboard.type(line + "\n")
    await screen.wait_for_selector("aside .xterm-rows:has-text('hello from')")


async def yaml(screen: Any) -> None:
    await opened(deployment("hello"), "YAML")(screen)
    text = screen.locator("aside textarea")
    await screen.wait_for_selector("aside .tabs:not([role]) button >> nth=1")
    await text.fill((await text.input_value()).replace("replicas: 4", "replicas: 6", 1))
    await text.evaluate("node => (node.style.height = '14rem')")
    await screen.click("aside .tabs:not([role]) button >> nth=0")
    await screen.wait_for_selector("aside pre .plus")


async def usage(screen: Any) -> None:
    await opened(pod("visitor"), "Usage")(screen)
    await screen.wait_for_selector("aside .plot canvas >> nth=1")


async def events(screen: Any) -> None:
    await opened(pod("stumbling"), "Events")(screen)
    await screen.wait_for_selector("aside td")


async def lessons(screen: Any) -> None:
    await view(screen, "learn")
    await screen.wait_for_selector("main .lessons li >> nth=29")


async def lesson(screen: Any) -> None:
    await lessons(screen)
    await screen.click("main .lessons button >> nth=15")
    await screen.wait_for_selector("main fieldset button")
    await screen.evaluate("scrollTo(0, 0)")


async def tutorial(screen: Any) -> None:
    """In Korean: a step that has been seen."""
    await lessons(screen)
    await screen.click("main section button:text-is('시작')")
    await screen.wait_for_selector("#step")
    await view(screen, "map")
    await screen.click(named("harbour"))
    await view(screen, "learn")
    await screen.click("main button.next")
    await view(screen, "controllers")
    await view(screen, "learn")
    await screen.click("main button.next")
    await screen.click("main .tabs button:text-is('만들기')")
    await screen.wait_for_selector("main button.next")
    await screen.evaluate("scrollTo(0, 0)")


DARK, KOREAN = Look(theme="dark"), Look("ko")
SHOTS = [
    Shot("page", why_pending),
    Shot("page-map", the_map),
    Shot("page-traffic", traffic, DARK),
    Shot("page-why-not-reached", why_not_reached),
    Shot("page-why-restarted", why_restarted, DARK),
    Shot("page-controllers", controllers),
    Shot("page-timeline", timeline),
    Shot("page-then", then),
    Shot("page-chain", chain),
    Shot("page-what-if", what_if, DARK),
    Shot("page-logs", logs),
    Shot("page-terminal", terminal, DARK),
    Shot("page-yaml", yaml),
    Shot("page-usage", usage, DARK),
    Shot("page-events", events),
    Shot("page-map-korean", the_map, KOREAN),
    Shot("page-lessons-korean", lessons, KOREAN),
    Shot("page-tutorial-korean", tutorial, KOREAN),
    Shot("page-lesson", lesson),
]


@asynccontextmanager
async def served(cluster: KnarrCluster) -> AsyncIterator[PageServer]:
    files = Files(cluster.data_dir)
    remote = read_remote(files.kubeconfig)
    async with (
        Api(Access(remote.url, remote.context, remote.headers, remote.server_name)) as api,
        PageServer(api, ClusterParts(files, api)) as page,
    ):
        await page.desk.listed()
        yield page


async def look(page: PageServer) -> None:
    """As somebody who has the map before him: of what is counted before the first look no first connection is told."""
    while True:
        await page.desk.traffic()
        await asyncio.sleep(1.0)


def fill(cluster: KnarrCluster) -> None:
    """What is to be seen, made and changed while the page's server remembers it."""
    cluster.apply((ROOT / "examples/hello.yaml").read_text())
    cluster.apply((Path(__file__).parent / "app.yaml").read_text())
    for name in ("hello", "visitor", "vault"):
        cluster.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s")
    cluster.kubectl("scale", "deployment/hello", "--replicas=4")
    cluster.kubectl("rollout", "status", "deployment/hello", "--timeout=120s")


async def take(page: PageServer, browser: Any, shot: Shot, folder: Path) -> None:
    look = shot.look
    context = await browser.new_context(locale=look.language, viewport={"width": WIDTH, "height": look.height}, reduced_motion="reduce")
    await context.add_init_script(f"localStorage.setItem('theme', '{look.theme}'); localStorage.setItem('language', '{look.language}')")
    screen = await context.new_page()
    screen.set_default_timeout(PATIENT_MS)
    await screen.goto(page.link)
    await screen.wait_for_selector(".state.live")
    await shot.show(screen)
    # Nothing has the focus that a person would not have given it, nor the pointer over it.
    await screen.mouse.move(1, HEIGHT - 1)
    file = folder / f"{shot.name}.png"
    await screen.screenshot(path=str(file), caret="hide", animations="disabled")
    if await screen.locator("main button:text-is('Leave it, and take it away'), main button:text-is('그만두고 지우기')").count():
        await screen.click("main section.card .bar > button")
    await context.close()
    shrink(file)
    print(f"{file.name}: {file.stat().st_size // 1024} KiB", flush=True)


def shrink(file: Path) -> None:
    if program := shutil.which("pngquant"):
        subprocess.run([program, "--force", "--strip", "--nofs", "--speed", "1", "--output", file, COLOURS, file], check=True, timeout=60)


async def run(cluster: KnarrCluster, chosen: list[Shot], folder: Path) -> int:
    """How many pictures could not be taken."""
    failures = 0
    playwright = importlib.import_module("playwright.async_api")
    async with served(cluster) as page, chromium() as browser:
        looking = asyncio.create_task(look(page))
        await asyncio.to_thread(fill, cluster)
        await asyncio.sleep(USED_SECONDS)
        await cancel([looking])
        for shot in chosen:
            try:
                await take(page, browser, shot, folder)
            except playwright.Error as error:
                failures += 1
                print(f"{shot.name}: {error}", flush=True)
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="those that are taken; all where none is named")
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where they are written")
    given = parser.parse_args()
    chosen = [shot for shot in SHOTS if not given.names or shot.name in given.names]
    if missing := set(given.names) - {shot.name for shot in chosen}:
        parser.error(f"{', '.join(sorted(missing))}: there are {', '.join(shot.name for shot in SHOTS)}")
    ensure_image()
    with tempfile.TemporaryDirectory() as data:
        cluster = Harbour(Path(data))
        cluster.up()
        try:
            sys.exit(asyncio.run(run(cluster, chosen, given.folder)))
        finally:
            cluster.down()


if __name__ == "__main__":
    main()
