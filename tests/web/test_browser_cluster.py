"""The page's buttons in a real browser, on a whole cluster with a simulated node: what is pressed is done, and what is told of it is so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.apiserver.webhooks.kubeconfig import read_remote
from services.command.parts import ClusterParts
from services.standalone.files import Files
from services.web.api import Access, Api
from services.web.server import PageServer
from tests.support.browser import chromium
from tests.support.knarr_cluster import KnarrCluster
from tests.web.conftest import followed

pytestmark = [pytest.mark.browser, pytest.mark.etcd]
PATIENT_MS = 60_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """A simulated node, and a Deployment with two pods on it."""
    made = KnarrCluster(Path(tmp_path_factory.mktemp("k")), runtime="hollow", datapath="userspace")
    try:
        made.up()
        made.kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2")
        made.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        yield made
    finally:
        made.down()


@pytest.fixture
async def screen(whole: KnarrCluster) -> AsyncIterator[Any]:
    """The page as the administrator, in English."""
    files = Files(whole.data_dir)
    remote = read_remote(files.kubeconfig)
    access = Access(remote.url, remote.context, remote.headers, remote.server_name)
    async with Api(access) as api, PageServer(api, ClusterParts(files, api)) as page, chromium() as browser:
        screen = await browser.new_page(locale="en-US")
        screen.set_default_timeout(PATIENT_MS)
        await followed(page)
        await screen.goto(page.link)
        await screen.wait_for_selector(".state.live")
        yield screen


async def test_a_deployment_is_scaled(whole: KnarrCluster, screen: Any) -> None:
    await screen.click("main button:has-text('Deployment default/web (2)')")
    assert await screen.inner_text("aside h2") == "Deployment default/web"
    await screen.click("aside [role=tab]:has-text('What if')")
    scale = screen.locator("aside button:has-text('Scale')")
    assert await scale.is_disabled()
    await screen.fill("aside input[type=number]", "4")
    await scale.click()
    await screen.wait_for_selector("dialog :text('The API server would take it.')")
    # Asked, and not done yet.
    assert replicas(whole) == "2"
    await screen.click("dialog button:has-text('Do it')")
    await screen.wait_for_selector("dialog [role=status] li")
    await screen.click("dialog button:has-text('Close')")
    await screen.wait_for_selector("main .pod[aria-label^='default/web-'] >> nth=3")
    assert replicas(whole) == "4"


async def test_a_node_is_drained_and_takes_pods_again(whole: KnarrCluster, screen: Any) -> None:
    await screen.click(f"main .card button.link:has-text('{whole.node}')")
    await screen.click("aside [role=tab]:has-text('What if')")
    await screen.click("aside button:has-text('Drain this node')")
    # The scheduler tells what would become of each pod.
    await screen.wait_for_selector("dialog :text('default/web-')")
    await screen.wait_for_selector("dialog :text('The API server would take it.')")
    await screen.click("dialog button:has-text('Do it')")
    await screen.wait_for_selector("dialog button:has-text('Close')")
    await screen.click("dialog button:has-text('Close')")
    on_node = f"--field-selector=spec.nodeName={whole.node}"
    whole.wait_for("the node to be empty", lambda: not whole.kubectl("get", "pods", "-l", "app=web", on_node, "-o", "name").stdout)
    await screen.wait_for_selector("main .pod[aria-label^='default/web-'] >> nth=1")
    assert whole.kubectl("get", "node", whole.node, "-o", "jsonpath={.spec.unschedulable}").stdout == "true"
    await screen.click("aside button:has-text('Let it take pods again')")
    await screen.wait_for_selector("dialog :text('The API server would take it.')")
    await screen.click("dialog button:has-text('Do it')")
    await screen.wait_for_selector("dialog button:has-text('Close')")
    assert whole.kubectl("get", "node", whole.node, "-o", "jsonpath={.spec.unschedulable}").stdout == ""


def replicas(whole: KnarrCluster) -> str:
    return str(whole.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}").stdout)
