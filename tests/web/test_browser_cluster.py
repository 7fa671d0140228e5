"""The page's buttons in a real browser, on a whole cluster with a simulated node: what is pressed is done, and what is told of it is so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
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


def administrator(whole: KnarrCluster) -> Access:
    remote = read_remote(Files(whole.data_dir).kubeconfig)
    return Access(remote.url, remote.context, remote.headers, remote.server_name)


@asynccontextmanager
async def served(whole: KnarrCluster, access: Access, **options: Any) -> AsyncIterator[PageServer]:
    """The page of a viewer, who has seen what he may."""
    async with Api(access) as api, PageServer(api, ClusterParts(Files(whole.data_dir), api), **options) as page:
        await followed(page)
        yield page


@pytest.fixture
async def screen(whole: KnarrCluster) -> AsyncIterator[Any]:
    """The page as the administrator, in English."""
    async with served(whole, administrator(whole)) as page, chromium() as browser:
        screen = await browser.new_page(locale="en-US")
        screen.set_default_timeout(PATIENT_MS)
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


ONE_LINE_PIXELS = 40


async def test_a_table_that_is_too_wide_is_scrolled_and_breaks_no_name(whole: KnarrCluster, screen: Any) -> None:
    # As narrow as the panel becomes beside the map.
    await screen.set_viewport_size({"width": 970, "height": 800})
    await screen.click("main .pod[aria-label^='default/web-'] >> nth=0")
    await screen.wait_for_selector("aside tbody th")
    # There are more plugins than it has room for.
    assert await screen.evaluate("document.querySelector('aside .wide').scrollWidth > document.querySelector('aside .wide').clientWidth")
    assert (await screen.locator("aside tbody th >> nth=0").bounding_box())["height"] < ONE_LINE_PIXELS


async def test_on_a_narrow_screen_the_panel_is_below_and_is_gone_to(whole: KnarrCluster, screen: Any) -> None:
    await screen.set_viewport_size({"width": 460, "height": 800})
    await screen.click("main .pod[aria-label^='default/web-'] >> nth=0")
    await screen.wait_for_selector("aside h2:focus")
    assert (await screen.locator("aside h2").bounding_box())["y"] < 400
    assert await screen.evaluate("document.documentElement.scrollWidth") == 460


async def test_a_pod_is_asked_for_more(whole: KnarrCluster, screen: Any) -> None:
    await screen.click("main .pod[aria-label^='default/web-'] >> nth=0")
    await screen.click("aside [role=tab]:has-text('What if')")
    await screen.fill("aside fieldset label:has-text('CPU') input", "100")
    await screen.click("aside fieldset button")
    # The scheduler says that no node has so many processors.
    await screen.wait_for_selector("dialog td:has-text('waits')")
    await screen.click("dialog button:has-text('Leave it')")
    await screen.fill("aside fieldset label:has-text('CPU') input", "20m")
    await screen.click("aside fieldset button")
    await screen.wait_for_selector("dialog td:has-text('placed')")
    await screen.wait_for_selector("dialog :text('The API server would take it.')")
    await screen.click("dialog button:has-text('Do it')")
    await screen.wait_for_selector("dialog button:has-text('Close')")
    path = "jsonpath={.spec.template.spec.containers[0].resources.requests.cpu}"
    assert whole.kubectl("get", "deployment", "web", "-o", path).stdout == "20m"
    whole.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


async def test_yaml_is_edited_and_its_managers_stay(whole: KnarrCluster, screen: Any) -> None:
    await screen.click("main button:has-text('Deployment default/web (')")
    text = screen.locator("aside textarea")
    await screen.wait_for_selector("aside button:text-is('Look what would change')")
    before = await text.input_value()
    assert "kind: Deployment" in before and "managedFields" not in before
    await text.fill(before.replace("\n    app: web\n", "\n    edited: here\n", 1))
    await screen.click("aside button:text-is('Look what would change')")
    await screen.wait_for_selector("aside pre .plus:has-text('edited: here')")
    assert "edited" not in whole.kubectl("get", "deployment", "web", "-o", "yaml").stdout
    await screen.click("aside button:text-is('Apply')")
    await screen.wait_for_selector("aside :text('Applied.')")
    metadata = whole.get("deployment", "web", "--show-managed-fields")["metadata"]
    assert metadata["labels"] == {"edited": "here"}
    assert {"knarr-ui", "kubectl-create", "kube-controller-manager"} <= {one["manager"] for one in metadata["managedFields"]}


async def test_who_may_look_in_one_namespace_sees_plots_of_its_pods_alone(whole: KnarrCluster) -> None:
    whole.kubectl("create", "namespace", "shop")
    whole.kubectl("create", "deployment", "till", "--image=web:1", "-n", "shop")
    whole.kubectl("rollout", "status", "deployment/till", "-n", "shop", "--timeout=60s")
    whole.kubectl("create", "rolebinding", "clerk", "--clusterrole=view", "--user=clerk", "-n", "shop")
    admin = administrator(whole)
    clerk = replace(admin, headers={**admin.headers, "Impersonate-User": "clerk"})
    async with served(whole, clerk, namespaces=["shop"]) as page, chromium() as browser:
        screen = await browser.new_page(locale="en-US")
        screen.set_default_timeout(PATIENT_MS)
        await screen.goto(page.link)
        await screen.click("main .pod[aria-label^='shop/till-']")
        assert await screen.locator("main .pod[aria-label^='default/']").count() == 0
        await screen.click("aside [role=tab]:text-is('Usage')")
        await screen.wait_for_selector("aside .plot canvas >> nth=1")
        assert {key.namespace for key in page.desk.sampler.memory.objects} == {"shop"}


async def test_a_page_outlives_its_api_server(whole: KnarrCluster) -> None:
    """Two tabs, of which each goes on by itself."""
    async with served(whole, administrator(whole)) as page, chromium() as browser:
        context = await browser.new_context(locale="en-US")
        tabs = [await context.new_page() for _ in range(2)]
        for tab in tabs:
            tab.set_default_timeout(PATIENT_MS)
            await tab.goto(page.link)
            await tab.wait_for_selector("main .pod[aria-label^='default/web-']")
        await asyncio.to_thread(whole.down)
        for tab in tabs:
            await tab.wait_for_selector("main .notice:has-text('does not answer')")
            # What was there last is shown until it is known better.
            assert await tab.locator("main .pod[aria-label^='default/web-']").count()
        await asyncio.to_thread(whole.up)
        await asyncio.to_thread(whole.kubectl, "create", "deployment", "later", "--image=web:1")
        for tab in tabs:
            await tab.wait_for_selector("main .pod[aria-label^='default/later-']")
            await tab.wait_for_selector("main .notice", state="detached")


def replicas(whole: KnarrCluster) -> str:
    return str(whole.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}").stdout)
