"""The page in a real browser: a thousand pods, a keyboard, both languages, the past. Skipped without Chromium or Playwright."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from services.web.api import Api
from services.web.face import Face
from services.web.guard import LOOPBACK, Guard
from services.web.parts import NoParts
from services.web.reception import Reception
from services.web.server import PageServer
from tests.apiserver.rest.live import TOKEN, LiveServer
from tests.support.browser import chromium
from tests.web.conftest import access, followed

pytestmark = pytest.mark.browser
PODS, PODS_AT_ONCE = 1000, 50
# On a machine that has nothing else to do it takes less than one second, and a change a fifth of one.
PATIENT_MS = 30_000
# Without metrics (404), without components (503), to who is not known (401) the page says so: that is no fault of its.
EXPECTED = (401, 404, 503)


@pytest.fixture
async def screen(page: PageServer) -> AsyncIterator[Any]:
    """A page of a browser that has come by a link; what it has against the page or its policies fails the test."""
    said: list[str] = []
    async with chromium() as browser:
        screen = await browser.new_page(locale="en-US")
        screen.set_default_timeout(PATIENT_MS)
        screen.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        screen.on("pageerror", lambda error: said.append(str(error)))
        await followed(page)
        await screen.goto(page.link)
        await screen.wait_for_selector(".state.live")
        yield screen
    assert [words for words in said if not any(f"status of {code}" in words for code in EXPECTED)] == []


@pytest.fixture(scope="module")
def crowd(cluster: LiveServer) -> LiveServer:
    """A node with a thousand pods of one owner."""

    async def node() -> None:
        client = cluster.client
        made = await client.create(core.Node(metadata=meta.ObjectMeta(name="node-1")))
        made.status.conditions.append(core.NodeCondition(type="Ready", status="True"))
        for name, amount in {"cpu": "64", "memory": "256Gi"}.items():
            made.status.allocatable[name].string = amount
        await client.update(made, subresource="status")

    async def pods(numbers: Iterable[int]) -> None:
        owner = meta.OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="web", uid="1", controller=True)
        spec = core.PodSpec(node_name="node-1", containers=[core.Container(name="web", image="web:1")])
        for number in numbers:
            metadata = meta.ObjectMeta(name=f"web-{number:04}", namespace="default", labels={"app": "web"}, owner_references=[owner])
            await cluster.client.create(core.Pod(metadata=metadata, spec=spec))

    cluster.call(node())
    # In pieces: a call is given up after a while, and beside others on the machine a thousand take longer than that.
    for first in range(0, PODS, PODS_AT_ONCE):
        cluster.call(pods(range(first, first + PODS_AT_ONCE)))
    return cluster


async def run(cluster: LiveServer, name: str) -> None:
    """Says of a pod that it runs and is ready, as its kubelet would."""
    pod = cluster.call(cluster.client.get(core.Pod, name, "default"))
    pod.status.phase = "Running"
    pod.status.conditions.append(core.PodCondition(type="Ready", status="True"))
    cluster.call(cluster.client.update(pod, subresource="status"))


async def test_a_thousand_pods_and_each_change(crowd: LiveServer, page: PageServer, screen: Any) -> None:
    began = time.monotonic()
    await screen.reload()
    # Not `wait_for_function`: it evaluates a string, which the page's policy forbids.
    await screen.wait_for_selector(f"main .pod >> nth={PODS - 1}")
    painted = time.monotonic() - began
    pod = "main .pod[aria-label^='default/web-0500,']"
    assert "look-busy" in await screen.get_attribute(pod, "class")
    began = time.monotonic()
    await run(crowd, "web-0500")
    await screen.wait_for_selector(f"{pod}.look-good")
    print(f"{PODS} pods after {painted:.2f} s, a change after {time.monotonic() - began:.3f} s")
    assert "node-1" in await screen.inner_text("main .card h3") and "ReplicaSet default/web (1000)" in await screen.inner_text("main .card")
    crowd.call(crowd.client.delete(core.Pod, "web-0999", "default", grace_period_seconds=0))
    await screen.wait_for_selector("main .pod[aria-label^='default/web-0999,']", state="detached")
    assert await screen.locator("main .pod").count() == PODS - 1


async def test_a_keyboard_is_enough(crowd: LiveServer, screen: Any) -> None:
    first = "main .pod[aria-label^='default/web-0000,']"
    await screen.focus(first)
    await screen.keyboard.press("ArrowRight")
    assert (await screen.evaluate("document.activeElement.ariaLabel")).startswith("default/web-0001,")
    await screen.keyboard.press("Enter")
    await screen.wait_for_selector("aside h2:focus")
    assert await screen.inner_text("aside h2") == "Pod default/web-0001"
    await screen.keyboard.press("Escape")
    await screen.wait_for_selector("aside", state="detached")
    # Back to where one came from, and on from there.
    assert (await screen.evaluate("document.activeElement.ariaLabel")).startswith("default/web-0001,")
    await screen.keyboard.press("Enter")
    await screen.focus("aside [role=tab] >> nth=0")
    await screen.keyboard.press("ArrowRight")
    await screen.keyboard.press("Enter")
    assert await screen.inner_text("aside [role=tab][aria-selected=true]") == "Why restarted"


LINES, MOST_LETTERS = 300_000, 200_000


async def test_a_huge_log_is_kept_to_its_end(crowd: LiveServer, screen: Any) -> None:
    body = "".join(f"line {number}\n" for number in range(LINES))
    await screen.route("**/log?**", lambda route: route.fulfill(status=200, content_type="text/plain", body=body))
    await screen.click("main .pod[aria-label^='default/web-0002,']")
    await screen.click("aside [role=tab]:text-is('Logs')")
    await screen.wait_for_selector(f"aside pre.log:has-text('line {LINES - 1}')")
    assert await screen.evaluate("document.querySelector('aside pre.log').textContent.length") == MOST_LETTERS
    scrolled = "(box => box.scrollHeight - box.scrollTop - box.clientHeight)(document.querySelector('aside pre.log'))"
    assert await screen.evaluate(scrolled) < 2


async def test_why_a_container_was_restarted_is_told_in_words_alone(crowd: LiveServer, screen: Any) -> None:
    harmful = "<img src=x onerror=alert(1)>"
    metadata = meta.ObjectMeta(name="fallen", namespace="default", annotations={"note": harmful})
    container = core.Container(name="web", image="web:1")
    pod = crowd.call(crowd.client.create(core.Pod(metadata=metadata, spec=core.PodSpec(node_name="node-1", containers=[container]))))
    pod.status.phase = "Running"
    status = pod.status.container_statuses.add(name="web", restart_count=3)
    status.state.waiting.reason, status.state.waiting.message = "CrashLoopBackOff", "back-off 40s restarting failed container"
    ended = status.last_state.terminated
    ended.exit_code, ended.reason, ended.message = 137, "OOMKilled", harmful
    crowd.call(crowd.client.update(pod, subresource="status"))
    about = core.ObjectReference(kind="Pod", namespace="default", name="fallen", uid=pod.metadata.uid, field_path="spec.containers{web}")
    event = core.Event(metadata=meta.ObjectMeta(name="fallen.1", namespace="default"), involved_object=about, type="Warning")
    event.reason, event.message = "Unhealthy", f"Liveness probe failed: {harmful}"
    crowd.call(crowd.client.create(event))
    await screen.click("main .pod[aria-label^='default/fallen, CrashLoopBackOff']")
    await screen.click("aside [role=tab]:has-text('Why restarted')")
    await screen.wait_for_selector("aside pre:has-text('default/fallen') , aside pre:has-text('fallen/web line 0')")
    rows = await screen.locator("aside section tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["Restarts", "Last exit", "Probe", "Next try"]
    told = dict(row.split("\t", 1) for row in rows)
    assert told["Restarts"] == "3" and told["Next try"] == "within 40 s"
    assert told["Last exit"].startswith(f"OOMKilled, code 137, signal KILL, {harmful}")
    assert told["Probe"] == f"Liveness probe failed: {harmful}"
    # What objects say is never read as HTML.
    assert await screen.locator("img").count() == 0
    crowd.call(crowd.client.delete(core.Pod, "fallen", "default", grace_period_seconds=0))
    await screen.wait_for_selector("aside .notice:has-text('It is gone')")


async def test_korean_and_dark(crowd: LiveServer, screen: Any) -> None:
    light = await screen.evaluate("getComputedStyle(document.body).backgroundColor")
    await screen.select_option("header select >> nth=1", "ko")
    await screen.select_option("header select >> nth=2", "dark")
    assert await screen.inner_text("header nav [aria-current]") == "지도"
    assert await screen.get_attribute("html", "lang") == "ko"
    assert await screen.evaluate("getComputedStyle(document.body).backgroundColor") != light


async def test_the_cluster_as_it_was_is_shown_and_left(crowd: LiveServer, screen: Any) -> None:
    await screen.wait_for_selector("main .card")
    deployment = apps.Deployment(metadata=meta.ObjectMeta(name="later", namespace="default"))
    deployment.spec.selector.match_labels["app"] = "later"
    deployment.spec.template.metadata.labels["app"] = "later"
    deployment.spec.template.spec.containers.append(core.Container(name="web", image="web:1"))
    crowd.call(crowd.client.create(deployment))
    await screen.click("header nav button:has-text('Timeline')")
    await screen.click("main .changes button:has-text('Deployment default/later')")
    await screen.wait_for_selector("main .changes td")
    await screen.click("main .changes button:has-text('See the cluster then')")
    await screen.wait_for_selector("main .notice:has-text('as it was at revision')")
    # What is measured now is not shown beside what was then.
    await screen.click("header nav button:has-text('Map')")
    await screen.wait_for_selector("main #nodes")
    assert await screen.locator("main #control-plane, main #traffic").count() == 0
    await screen.click("main .notice button")
    await screen.wait_for_selector("main .notice", state="detached")


def bare(name: str) -> core.Pod:
    spec = core.PodSpec(node_name="node-1", containers=[core.Container(name="web", image="web:1")], termination_grace_period_seconds=0)
    return core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default"), spec=spec)


async def test_what_would_happen_is_told_before_it_is_done(crowd: LiveServer, screen: Any) -> None:
    crowd.call(crowd.client.create(bare("doomed")))
    await screen.click("main .pod[aria-label^='default/doomed,']")
    await screen.click("aside [role=tab]:has-text('What if')")
    await screen.click("aside button:has-text('Delete this pod')")
    # Nobody reaches a scheduler here: that is said, and what the API server says of a dry run.
    await screen.wait_for_selector("dialog .notice:has-text('is not known')")
    await screen.wait_for_selector("dialog :text('The API server would take it.')")
    assert await screen.evaluate("document.activeElement.textContent") == "Leave it"
    await screen.keyboard.press("Escape")
    await screen.wait_for_selector("dialog", state="detached")
    assert await screen.locator("main .pod[aria-label^='default/doomed,']").count() == 1
    await screen.click("aside button:has-text('Delete this pod')")
    await screen.click("dialog button:has-text('Do it')")
    await screen.wait_for_selector("main .pod[aria-label^='default/doomed,']", state="detached")


async def test_who_may_only_look_finds_no_buttons(crowd: LiveServer, screen: Any) -> None:
    rules = [rbac.PolicyRule(api_groups=["*"], resources=["*"], verbs=["get", "list", "watch"])]
    crowd.call(crowd.client.create(rbac.ClusterRole(metadata=meta.ObjectMeta(name="looks"), rules=rules)))
    binding = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name="looks"))
    binding.role_ref.api_group, binding.role_ref.kind, binding.role_ref.name = "rbac.authorization.k8s.io", "ClusterRole", "looks"
    binding.subjects.add(kind="User", name="guest", api_group="rbac.authorization.k8s.io")
    crowd.call(crowd.client.create(binding))
    admin = access(crowd)
    guest = replace(admin, headers={**admin.headers, "Impersonate-User": "guest"})
    async with Api(guest) as api, PageServer(api) as page:
        await followed(page)
        await screen.goto(page.link)
        await screen.click("main .pod[aria-label^='default/web-0001,']")
        for tab in ("What if", "Terminal"):
            await screen.click(f"aside [role=tab]:has-text('{tab}')")
            await screen.wait_for_selector("aside :text('There is nothing that you may do here.')")
            assert await screen.locator("aside [role=tabpanel] button").count() == 0
        await screen.click("aside [role=tab]:has-text('YAML')")
        await screen.wait_for_selector("aside textarea[readonly]")
        await screen.click("header nav button:has-text('Learn')")
        await screen.wait_for_selector("main :text('There is nothing that you may do here.')")
        assert await screen.locator("main .lessons").count() == 0
        await screen.goto("about:blank")


async def test_a_tenant_sees_the_namespace_that_he_names_and_a_workload_that_has_no_pod(crowd: LiveServer) -> None:
    crowd.call(crowd.client.create(core.Namespace(metadata=meta.ObjectMeta(name="shop"))))
    crowd.call(crowd.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="shop"))))
    idle = apps.Deployment(metadata=meta.ObjectMeta(name="idle", namespace="shop"))
    idle.spec.replicas = 0
    idle.spec.selector.match_labels["app"] = idle.spec.template.metadata.labels["app"] = "idle"
    idle.spec.template.spec.containers.add(name="web", image="web:1")
    crowd.call(crowd.client.create(idle))
    sold = bare("sold")
    sold.metadata.namespace = "shop"
    crowd.call(crowd.client.create(sold))
    rules = [rbac.PolicyRule(api_groups=["*"], resources=["pods", "deployments"], verbs=["get", "list", "watch"])]
    crowd.call(crowd.client.create(rbac.Role(metadata=meta.ObjectMeta(name="looks", namespace="shop"), rules=rules)))
    binding = rbac.RoleBinding(metadata=meta.ObjectMeta(name="looks", namespace="shop"))
    binding.role_ref.api_group, binding.role_ref.kind, binding.role_ref.name = "rbac.authorization.k8s.io", "Role", "looks"
    binding.subjects.add(kind="User", name="tenant", api_group="rbac.authorization.k8s.io")
    crowd.call(crowd.client.create(binding))
    admin = access(crowd)
    tenant = replace(admin, headers={**admin.headers, "Impersonate-User": "tenant"})
    failed: list[str] = []
    async with Api(tenant) as api, PageServer(api) as page, chromium() as browser:
        screen = await browser.new_page(locale="en-US")
        screen.set_default_timeout(PATIENT_MS)
        screen.on("pageerror", lambda error: failed.append(str(error)))
        await followed(page)
        await screen.goto(page.link)
        await screen.wait_for_selector("main .notice li:has-text('pods')")
        assert await screen.locator("main .pod").count() == 0
        await screen.fill("main input[name=namespace]", "No Name")
        await screen.keyboard.press("Enter")
        await screen.wait_for_selector("main [role=alert]:has-text('no name of a namespace')")
        await screen.fill("main input[name=namespace]", "shop")
        await screen.keyboard.press("Enter")
        await screen.wait_for_selector("main .card:has-text('a node that you may not see') .pod[aria-label^='shop/sold,']")
        await screen.wait_for_selector("main .notice:has-text('what you may see in shop')")
        await screen.click("main button:has-text('Deployment shop/idle (0)')")
        assert await screen.inner_text("aside h2") == "Deployment shop/idle"
        assert await screen.locator("main .pod").count() == 1
        await screen.goto("about:blank")
    assert not failed


async def test_a_terminal_shows_what_is_typed_and_how_it_ends(crowd: LiveServer, screen: Any) -> None:
    pod = crowd.call(crowd.client.create(bare("typed")))
    pod.status.phase = "Running"
    pod.status.container_statuses.add(name="web", ready=True).state.running.SetInParent()
    crowd.call(crowd.client.update(pod, subresource="status"))
    await screen.click("main .pod[aria-label^='default/typed,']")
    await screen.click("aside [role=tab]:has-text('Terminal')")
    # The node's shell is one that echoes its command, and ends.
    await screen.wait_for_selector("aside .notice:has-text('It has ended.')")
    await screen.wait_for_selector("aside .xterm-rows :text('exec bash')")
    crowd.call(crowd.client.delete(core.Pod, "typed", "default", grace_period_seconds=0))


async def test_lessons_are_told_in_both_languages(crowd: LiveServer, screen: Any) -> None:
    await screen.click("header nav button:has-text('Learn')")
    await screen.wait_for_selector("main .lessons .card >> nth=29")
    assert "It keeps restarting" in await screen.inner_text("main .lessons .card >> nth=0")
    await screen.select_option("header select >> nth=1", "ko")
    assert "계속 재시작합니다" in await screen.inner_text("main .lessons .card >> nth=0")


async def test_who_has_a_token_signs_in_and_out_by_keyboard_alone(crowd: LiveServer, screen: Any) -> None:
    admin = access(crowd)
    async with Reception(replace(admin, headers={}), lambda api: NoParts()) as reception:
        guard = Guard(reception.desk, "sign in with a token", LOOPBACK)
        async with Face(reception, guard, "127.0.0.1", 0):
            # The stream of the page before breaks off with it, which is no fault of the next.
            await screen.goto("about:blank")
            await screen.goto(f"http://127.0.0.1:{guard.port}")
            # The field has the focus.
            await screen.wait_for_selector("main input:focus")
            await screen.keyboard.type("wrong")
            await screen.keyboard.press("Enter")
            await screen.wait_for_selector("main [role=alert]:has-text('does not know this token')")
            # What was wrong is selected, and typed over.
            await screen.wait_for_selector("main button:enabled")
            await screen.keyboard.type(TOKEN)
            await screen.keyboard.press("Enter")
            await screen.wait_for_selector(".state.live")
            await screen.wait_for_selector("main .pod[aria-label^='default/web-0001,']")
            await screen.focus("header button:has-text('Sign out')")
            await screen.keyboard.press("Enter")
            await screen.wait_for_selector("main input:focus")
            assert await screen.locator("main .pod").count() == 0
            await screen.goto("about:blank")
            for viewer in list(reception._viewers.values()):
                await viewer.desk.listed()
