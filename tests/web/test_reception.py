"""A server for many: each signs in by a token, and sees what the API server shows to its bearer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import orjson
import pytest
from yarl import URL

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.api.web.v1 import web_service_pb2 as messages
from knarr.api.web.v1 import web_service_pb2_grpc as stubs
from knarr.client.clock import SYSTEM_CLOCK
from services.web.api import Access, Api, Refused
from services.web.archive import KEPT_SECONDS
from services.web.desk import MOST_NAMESPACES
from services.web.face import Face
from services.web.guard import LOOPBACK, OWN_HEADER, Guard
from services.web.parts import NoParts
from services.web.reception import MOST_DESKS, SESSION_SECONDS, UNUSED_SECONDS, Reception, _folder_name
from services.web.servicer import WebServicer
from services.web.sign_in import MOST_TOKEN_BYTES
from tests.apiserver.rest.live import TOKEN, LiveServer, running_server
from tests.support.set_clock import SetClock
from tests.support.signing import signing_keys
from tests.web.conftest import access

PATIENT_SECONDS = 20.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One whose service accounts have tokens: `looker` may list pods, `tenant` those of two namespaces, `nobody` nothing."""
    with running_server(tmp_path_factory.mktemp("cluster"), in_memory=True, keys=signing_keys()) as server:
        for name in ("looker", "nobody", "tenant"):
            server.call(server.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name=name, namespace="default"))))
        rules = [rbac.PolicyRule(api_groups=["", "metrics.k8s.io"], resources=["pods"], verbs=["get", "list", "watch"])]
        server.call(server.client.create(rbac.ClusterRole(metadata=meta.ObjectMeta(name="looks"), rules=rules)))
        binding = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name="looks"))
        binding.role_ref.api_group, binding.role_ref.kind, binding.role_ref.name = "rbac.authorization.k8s.io", "ClusterRole", "looks"
        binding.subjects.add(kind="ServiceAccount", name="looker", namespace="default")
        server.call(server.client.create(binding))
        for namespace in ("shop", "theirs"):
            server.call(server.client.create(core.Namespace(metadata=meta.ObjectMeta(name=namespace))))
            server.call(server.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace=namespace))))
        for namespace in ("default", "shop"):
            role = rbac.RoleBinding(metadata=meta.ObjectMeta(name="looks", namespace=namespace), role_ref=binding.role_ref)
            role.subjects.add(kind="ServiceAccount", name="tenant", namespace="default")
            server.call(server.client.create(role))
        spec = core.PodSpec(containers=[core.Container(name="web", image="web:1")], node_name="node-1")
        for name, namespace in {"seen": "default", "sold": "shop", "hidden": "theirs"}.items():
            server.call(server.client.create(core.Pod(metadata=meta.ObjectMeta(name=name, namespace=namespace), spec=spec)))
        yield server


def stranger(cluster: LiveServer) -> Access:
    return replace(access(cluster), headers={})


async def token(cluster: LiveServer, name: str, seconds: int = 600) -> str:
    """One more of a service account's."""
    async with Api(access(cluster)) as api:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}}
        return str((await api.json("POST", f"/api/v1/namespaces/default/serviceaccounts/{name}/token", body))["status"]["token"])


@asynccontextmanager
async def received(cluster: LiveServer, clock: SetClock | None = None) -> AsyncIterator[Reception]:
    async with Reception(stranger(cluster), lambda api: NoParts(), clock or SYSTEM_CLOCK) as reception:
        try:
            yield reception
        finally:
            # A request that is given up before its answer begins says farewell in TLS for longer than the test's loop lives.
            for viewer in list(reception._viewers.values()):
                await viewer.desk.listed()


@pytest.fixture
async def reception(cluster: LiveServer) -> AsyncIterator[Reception]:
    async with received(cluster) as made:
        yield made


@pytest.fixture
async def page(reception: Reception) -> AsyncIterator[str]:
    """The page's origin."""
    guard = Guard(reception.desk, "sign in with a token", LOOPBACK)
    async with Face(reception, guard, "127.0.0.1", 0):
        yield f"http://127.0.0.1:{guard.port}"


@asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


def own(page: str) -> dict[str, str]:
    """What a browser and the page's scripts send with what changes something."""
    return {"Origin": page, OWN_HEADER: "1", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}


async def sign_in(session: aiohttp.ClientSession, page: str, shown: str) -> tuple[int, str]:
    async with session.post(f"{page}/login", json={"token": shown}, headers=own(page)) as answer:
        return answer.status, str((await answer.json())["message"]) if answer.status >= 400 else ""


async def test_each_sees_what_his_token_may(cluster: LiveServer, reception: Reception, page: str) -> None:
    async with browser() as admin, browser() as looker:
        async with admin.get(f"{page}/login/way") as answer:
            assert await answer.json() == {"way": "token"}
        assert (await sign_in(admin, page, TOKEN))[0] == 204
        assert (await sign_in(looker, page, await token(cluster, "looker")))[0] == 204
        for session, status in ((admin, 200), (looker, 403)):
            async with session.get(f"{page}/cluster/api/v1/secrets") as answer:
                assert answer.status == status
            async with session.get(f"{page}/cluster/api/v1/pods") as answer:
                assert answer.status == 200
        assert len(reception) == 2


async def test_a_second_token_of_the_same_viewer_leads_to_the_same_desk(cluster: LiveServer, reception: Reception) -> None:
    first, second = await token(cluster, "looker"), await token(cluster, "looker")
    assert first != second
    sessions = [await reception.sign_in(one) for one in (first, second)]
    assert reception.desk(sessions[0]) is reception.desk(sessions[1]) is not None and len(reception) == 1
    desk = reception.desk(sessions[0])
    assert desk is not None and desk.api.access.headers["Authorization"].endswith(second)


@pytest.mark.parametrize("shown", ["", "unknown", "two words", "l\u00f6se", "a\nb"])
async def test_what_is_no_token_of_the_clusters_is_refused(reception: Reception, page: str, shown: str) -> None:
    async with browser() as session:
        status, words = await sign_in(session, page, shown)
        assert status == 401 and "token" in words and not session.cookie_jar.filter_cookies(URL(page))
    assert len(reception) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"token": 1}', b'{"token": "%s"}' % (b"x" * MOST_TOKEN_BYTES)])
async def test_a_body_that_has_no_token_is_refused_by_name(page: str, body: bytes) -> None:
    async with browser() as session, session.post(f"{page}/login", data=body, headers=own(page)) as answer:
        assert answer.status == 400 and '"token"' in (await answer.json())["message"]


async def test_a_body_that_does_not_say_how_long_it_is_is_refused_when_it_is_too_long(page: str) -> None:
    said = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal said
        for _ in range(1000):
            said += 1
            yield b" " * MOST_TOKEN_BYTES
            await asyncio.sleep(0)

    async with browser() as session:
        with suppress(aiohttp.ClientError):
            async with session.post(f"{page}/login", data=endless(), headers=own(page)) as answer:
                assert answer.status == 400 and '"token"' in (await answer.json())["message"]
    assert said < 1000


async def test_who_may_come_for_longest_is_believed(cluster: LiveServer, reception: Reception) -> None:
    """A token that ends sooner than the one that the desk has does not shorten what is left to it."""
    longer, sooner = await token(cluster, "looker", 3600), await token(cluster, "looker")
    session = await reception.sign_in(longer)
    await reception.sign_in(sooner)
    desk = reception.desk(session)
    assert desk is not None and desk.api.access.headers["Authorization"].endswith(longer)


async def test_what_was_kept_for_who_is_gone_for_long_is_taken_away_and_nothing_else(cluster: LiveServer, tmp_path: Path) -> None:
    clock = SetClock()
    (tmp_path / "a stray file").touch()
    (tmp_path / "somebody's").mkdir()
    old = tmp_path / ("0" * 64)
    old.mkdir()
    (tmp_path / ("f" * 64)).touch()
    async with Reception(stranger(cluster), lambda api: NoParts(), clock, history=tmp_path) as reception:
        session = await reception.sign_in(TOKEN)
        (there,) = (tmp_path / _folder_name(identity) for identity in reception._viewers)
        clock.move(KEPT_SECONDS + (time.time() - clock.now().timestamp()) + 60)
        # He looks, and nothing changes.
        reception._viewers[reception._sessions[session]].sessions[session] = clock.elapsed()
        assert reception.desk(session) is not None
        await reception.sign_in(await token(cluster, "looker"))
        assert there.is_dir() and not old.exists()
        assert (tmp_path / "a stray file").exists() and (tmp_path / "somebody's").exists()
        for viewer in reception._viewers.values():
            await viewer.desk.listed()


@pytest.mark.parametrize("left_out", ["Origin", OWN_HEADER])
async def test_no_other_page_can_sign_a_browser_in(page: str, left_out: str) -> None:
    headers = {name: value for name, value in own(page).items() if name != left_out}
    async with browser() as session, session.post(f"{page}/login", json={"token": TOKEN}, headers=headers) as answer:
        assert answer.status == 403 and not session.cookie_jar.filter_cookies(URL(page))


async def test_who_signs_out_hears_no_more_and_is_forgotten(reception: Reception, page: str) -> None:
    async with browser() as session:
        await sign_in(session, page, TOKEN)
        async with session.get(f"{page}/live") as stream:
            assert b"event: all" in await stream.content.readline()
            async with session.post(f"{page}/logout", headers=own(page)) as answer:
                assert answer.status == 204
            for viewer in reception._viewers.values():
                for feed in viewer.desk.feeds:
                    feed.knock()
            async with asyncio.timeout(PATIENT_SECONDS):
                await stream.content.read()
        async with session.get(f"{page}/parts") as answer:
            assert answer.status == 401
    await reception.sweep()
    assert len(reception) == 0


async def test_who_is_not_there_any_more_is_forgotten(cluster: LiveServer) -> None:
    clock = SetClock()
    async with received(cluster, clock) as reception:
        session = await reception.sign_in(TOKEN)
        clock.move(SESSION_SECONDS + 1)
        assert reception.desk(session) is None
        clock.move(UNUSED_SECONDS)
        await reception.sweep()
        assert len(reception) == 0


async def test_there_is_room_for_so_many_and_who_does_not_look_gives_way(
    cluster: LiveServer, reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_DESKS > 2
    monkeypatch.setattr("services.web.reception.MOST_DESKS", 1)
    first = await reception.sign_in(TOKEN)
    desk = reception.desk(first)
    assert desk is not None
    await desk.listed()
    desk.feeds.add(feed := object())  # type: ignore[arg-type]
    with pytest.raises(Refused, match="wait until one has left"):
        await reception.sign_in(await token(cluster, "looker"))
    desk.feeds.discard(feed)
    assert reception.desk(await reception.sign_in(await token(cluster, "looker"))) is not None
    assert reception.desk(first) is None


async def test_a_token_that_is_good_no_more_ends_the_session(cluster: LiveServer, reception: Reception) -> None:
    session = await reception.sign_in(await token(cluster, "nobody"))
    desk = reception.desk(session)
    assert desk is not None
    await desk.listed()
    cluster.call(cluster.client.delete(core.ServiceAccount, "nobody", "default"))
    follower = desk.followers[0]
    follower.unknown = True
    assert reception.desk(session) is None
    await reception.sweep()
    assert len(reception) == 0
    with pytest.raises(Refused, match="may have expired"):
        await reception.sign_in("no.such.token")


async def test_a_tenant_sees_his_own_namespace_and_those_that_he_names(cluster: LiveServer, reception: Reception, page: str) -> None:
    async with browser() as session:
        await sign_in(session, page, await token(cluster, "tenant"))
        (viewer,) = reception._viewers.values()
        await viewer.desk.listed()

        def names() -> set[str]:
            return {obj["metadata"]["name"] for obj in viewer.desk.recorder.objects("pods")}

        assert names() == {"seen"}
        statuses = {}
        for namespace in ("shop", "theirs", "none-such", "No Name", ""):
            async with session.post(f"{page}/look", params={"namespace": namespace}, headers=own(page)) as answer:
                statuses[namespace] = answer.status
        # Whether there is one that he may not see is not told.
        assert statuses == {"shop": 204, "theirs": 204, "none-such": 204, "No Name": 400, "": 400}
        async with asyncio.timeout(PATIENT_SECONDS), session.get(f"{page}/live") as stream:
            while b"event: within" not in (line := await stream.content.readline()) or b'"shop"' not in await stream.content.readline():
                assert line
        assert names() == {"seen", "sold"}
        assert (await usage(session, page, "theirs", "hidden"))[0] == 503
        async with asyncio.timeout(PATIENT_SECONDS):
            while (measured := await usage(session, page, "shop", "sold"))[0] == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # It may be seen; there is no kubelet that would measure it.
        assert measured == (200, {"at": [], "cpu": [], "memory": []})
        assert "cannot list" in (await usage(session, page, "theirs", "hidden"))[1]["message"]
        for number in range(MOST_NAMESPACES):
            async with session.post(f"{page}/look", params={"namespace": f"n-{number}"}, headers=own(page)) as answer:
                status = answer.status
        assert status == 400


async def usage(session: aiohttp.ClientSession, page: str, namespace: str, name: str) -> tuple[int, Any]:
    async with session.get(f"{page}/usage", params={"resource": "pods", "namespace": namespace, "name": name}) as answer:
        return answer.status, await answer.json()


@pytest.fixture
async def grpc_face(reception: Reception) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    stubs.add_WebServiceServicer_to_server(WebServicer(reception), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield stubs.WebServiceStub(channel)
    await server.stop(0)


def shown(of: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {of}")]


async def test_grpc_tells_what_is_remembered_and_of_whom(cluster: LiveServer, grpc_face: Any) -> None:
    looker = shown(await token(cluster, "looker"))
    status = await grpc_face.GetStatus(messages.GetStatusRequest(), metadata=looker)
    followed = {one.resource: one for one in status.followed}
    assert followed["pods"].objects == 3 and followed["pods"].problem == ""
    assert "cannot list" in followed["secrets"].problem and followed["secrets"].objects == 0
    spec = core.PodSpec(containers=[core.Container(name="web", image="web:1")])
    made = cluster.call(cluster.client.create(core.Pod(metadata=meta.ObjectMeta(name="later", namespace="default"), spec=spec)))
    asked = messages.ListChangesRequest(resource="pods", namespace="default", name="later")
    async with asyncio.timeout(PATIENT_SECONDS):
        while not (found := await grpc_face.ListChanges(asked, metadata=looker)).changes:
            pass
    assert [(one.type, one.name) for one in found.changes] == [("ADDED", "later")]
    revision = found.changes[0].revision
    assert revision == int(made.metadata.resource_version) and found.changes[0].at.seconds > 0
    change = await grpc_face.GetChange(messages.GetChangeRequest(revision=revision), metadata=looker)
    (difference,) = change.differences
    assert difference.path == "" and difference.before == "null" and orjson.loads(difference.after)["metadata"]["name"] == "later"
    then = [name async for name in names(grpc_face, looker, revision=revision - 1, resource="pods")]
    now = [name async for name in names(grpc_face, looker)]
    assert sorted(then) == ["hidden", "seen", "sold"] and sorted(now) == ["hidden", "later", "seen", "sold"]
    steps = (await grpc_face.ExplainPod(messages.ExplainPodRequest(namespace="default", pod="later"), metadata=looker)).steps
    assert [step.step for step in steps] == ["pod"]
    cluster.call(cluster.client.delete(core.Pod, "later", "default", grace_period_seconds=0))


async def names(stub: Any, metadata: list[tuple[str, str]], **request: object) -> AsyncIterator[str]:
    async for piece in stub.ListObjects(messages.ListObjectsRequest(**request), metadata=metadata):  # type: ignore[arg-type]
        for one in piece.objects:
            yield orjson.loads(one.json)["metadata"]["name"]


async def test_grpc_shows_nothing_to_whom_the_cluster_does_not_know(grpc_face: Any) -> None:
    for metadata in ([], shown("unknown"), [("authorization", "Basic abc")]):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await grpc_face.GetStatus(messages.GetStatusRequest(), metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_grpc_says_what_is_wrong_with_a_question(grpc_face: Any) -> None:
    admin = shown(TOKEN)
    wrong = {
        grpc_face.ListChanges(messages.ListChangesRequest(name="web"), metadata=admin): grpc.StatusCode.INVALID_ARGUMENT,
        grpc_face.GetChange(messages.GetChangeRequest(revision=1), metadata=admin): grpc.StatusCode.NOT_FOUND,
        grpc_face.ExplainPod(messages.ExplainPodRequest(), metadata=admin): grpc.StatusCode.INVALID_ARGUMENT,
        grpc_face.ListObjects(messages.ListObjectsRequest(revision=1), metadata=admin).read(): grpc.StatusCode.NOT_FOUND,
        grpc_face.ListObjects(messages.ListObjectsRequest(resource="x"), metadata=admin).read(): grpc.StatusCode.INVALID_ARGUMENT,
    }
    for call, code in wrong.items():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is code
