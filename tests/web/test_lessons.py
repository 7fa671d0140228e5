"""Each lesson on a whole cluster: it works, is broken, shows the fault, is found and mended, and nothing of it stays. Simulated nodes show
most faults; the others need containers."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import orjson
import pytest

from knarr.pytest.clusters import AnyCluster, start
from knarr.service.tasks import cancel
from services.web.api import Access, Api, Refused
from services.web.followed import FOLLOWED
from services.web.follower import Follower
from services.web.learning import classroom
from services.web.learning.checks import holds
from services.web.learning.classroom import LABEL, TUTORIAL, USED_AT, Classroom, Elsewhere
from services.web.learning.course import Lesson, lessons, merge, steps
from services.web.learning.objects import KINDS, path_of
from services.web.recorder import Recorder

SECONDS = 90.0
# Of a machine's two processors.
AT_ONCE = 6
NAMESPACES = "/api/v1/namespaces"


def bearer(cluster: AnyCluster) -> Access:
    state = orjson.loads(cluster.files.state.read_bytes())
    token = cluster.files.admin_token.read_text().strip()
    trust = ssl.create_default_context(cafile=str(cluster.files.pki / "ca.crt"))
    return Access(state["server"], trust, {"Authorization": f"Bearer {token}"})


@asynccontextmanager
async def school(cluster: AnyCluster) -> AsyncIterator[tuple[Api, Recorder]]:
    """What the page's server has: the API, and what it follows."""
    async with Api(bearer(cluster)) as api:
        recorder = Recorder()
        followers = [Follower(api, followed, recorder, lambda follower: None) for followed in FOLLOWED]
        tasks = [asyncio.create_task(follower.run()) for follower in followers]
        try:
            async with asyncio.timeout(20):
                while any(follower.standing is None for follower in followers):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            yield api, recorder
        finally:
            await cancel(tasks)


@pytest.fixture(scope="module")
def hollow() -> Iterator[AnyCluster]:
    cluster = start("hollow", "memory", 1)
    yield cluster
    cluster.stop()


async def until(room: Classroom, *states: str) -> None:
    async with asyncio.timeout(SECONDS):
        while room.state not in states:
            assert room.state != "failed", room.said
            await asyncio.sleep(0.05)


async def attend(api: Api, recorder: Recorder, lesson: Lesson, image: str = "") -> None:
    room = Classroom(api, recorder, lambda: 1)
    try:
        await room.begin(lesson.id, image)
        await until(room, "asked")
        assert room.explanation() is None and not room.answer(lesson.others[0]) and room.state == "asked"
        with pytest.raises(Elsewhere, match="first the cause"):
            await room.mend()
        assert room.answer(lesson.id) and room.told()["wrong"] == 1
        assert room.explanation() == lesson.explanation
        await room.mend()
        await until(room, "mended")
        namespace = room.namespace
    except (AssertionError, TimeoutError) as error:
        there = [seen_of(obj) for resource in ("pods", "events") for obj in recorder.objects(resource, room.namespace)]
        raise AssertionError(f"lesson {lesson.id} in state {room.state}: {error}; {'; '.join(there)}") from error
    finally:
        await room.leave()
    assert "deletionTimestamp" in await metadata_of(api, namespace)


def seen_of(obj: dict[str, Any]) -> str:
    if "message" in obj:
        return str(obj["message"])
    states = [one.get("state") for one in (obj.get("status") or {}).get("containerStatuses") or ()]
    return f"{obj['metadata']['name']} {obj['status'].get('phase')} {states}"


async def metadata_of(api: Api, namespace: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = (await api.json("GET", f"{NAMESPACES}/{namespace}"))["metadata"]
    except Refused as error:
        assert error.code == 404
        return {"deletionTimestamp": "gone"}
    return found


async def attend_all(cluster: AnyCluster, which: list[Lesson], image: str = "") -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(api: Api, recorder: Recorder, lesson: Lesson) -> None:
        async with turn:
            await attend(api, recorder, lesson, image)

    async with school(cluster) as (api, recorder):
        outcomes = await asyncio.gather(*(one(api, recorder, lesson) for lesson in which), return_exceptions=True)
    assert not (failed := [str(outcome) for outcome in outcomes if outcome is not None]), "\n".join(failed)


@pytest.mark.cluster
@pytest.mark.timeout(400)
async def test_lessons_of_simulated_nodes(hollow: AnyCluster) -> None:
    await attend_all(hollow, [lesson for lesson in lessons().values() if not lesson.real])


@pytest.fixture(scope="module")
def containers() -> Iterator[AnyCluster]:
    if os.geteuid() != 0 or shutil.which("docker") is None:
        pytest.skip("needs root and Docker")
    subprocess.run(["examples/hello/build.sh"], check=True)
    cluster = start("docker", "etcd", 1)
    yield cluster
    cluster.stop()


@pytest.mark.docker
@pytest.mark.timeout(400)
async def test_lessons_of_containers(containers: AnyCluster) -> None:
    await attend_all(containers, [lesson for lesson in lessons().values() if lesson.real], "hello:1")


@pytest.mark.docker
@pytest.mark.timeout(200)
async def test_the_tutorial_with_containers(containers: AnyCluster) -> None:
    await take_the_tutorial(containers, "hello:1")


@pytest.mark.cluster
async def test_the_tutorial(hollow: AnyCluster) -> None:
    await take_the_tutorial(hollow)


async def take_the_tutorial(cluster: AnyCluster, image: str = "") -> None:
    """Does what each step says, as a learner would."""
    async with school(cluster) as (api, recorder):
        room = Classroom(api, recorder, lambda: 1)
        web = f"/apis/apps/v1/namespaces/{TUTORIAL}/deployments/hello"

        async def patch(replicas: int) -> None:
            await api.json("PATCH", web, {"spec": {"replicas": replicas}}, content="application/merge-patch+json")

        async def lose() -> None:
            pod = next(recorder.objects("pods", TUTORIAL), None)
            # One of the tutorial's pods is somebody's without labels.
            labeled = ((one, one["metadata"].get("labels", {})) for one in recorder.objects("pods", TUTORIAL))
            pods = [one["metadata"]["name"] for one, labels in labeled if labels.get("app") == "hello"]
            assert pod is not None and pods
            await api.json("DELETE", f"/api/v1/namespaces/{TUTORIAL}/pods/{pods[0]}")

        deeds = {"replacing": lose, "scaling": lambda: patch(5), "wanted-state": lambda: patch(1)}
        try:
            await room.begin_tutorial(image)
            await until(room, "asked")
            with pytest.raises(Elsewhere):
                await room.go(1)
            for number, step in enumerate(steps()):
                if number:
                    await room.go(number)
                assert room.done == number, f"{step.id} was done before it was begun"
                await room.make()
                if step.id in deeds:
                    await deeds[step.id]()
                room.seen(step.opened, step.viewed)
                async with asyncio.timeout(SECONDS):
                    while room.done == number:
                        assert room.state != "failed", f"{step.id}: {room.said}"
                        await asyncio.sleep(0.05)
            await until(room, "mended")
        finally:
            await room.leave()


@pytest.mark.cluster
async def test_a_namespace_that_is_nobodys_lesson_is_left_alone(hollow: AnyCluster) -> None:
    name = "knarr-lesson-quota"
    async with school(hollow) as (api, recorder):
        await api.json("POST", NAMESPACES, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})
        room = Classroom(api, recorder, lambda: 1)
        try:
            await room.begin("quota")
            with pytest.raises(AssertionError, match="that no lesson has made: it is left alone"):
                await until(room, "asked")
            await room.leave()
            assert "deletionTimestamp" not in await metadata_of(api, name)
        finally:
            await api.json("DELETE", f"{NAMESPACES}/{name}")


@pytest.mark.cluster
async def test_what_a_page_left_by_crashing_is_taken_away_and_what_another_uses_is_not(
    hollow: AnyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classroom, "BEAT_SECONDS", 0.05)
    async with school(hollow) as (api, recorder):
        room = Classroom(api, recorder, lambda: 1)
        now = room._clock.now()
        for name, seconds in (("left", 600), ("used", 5)):
            metadata = {"name": name, "labels": {LABEL: name}, "annotations": {USED_AT: (now - timedelta(seconds=seconds)).isoformat()}}
            await api.json("POST", NAMESPACES, {"kind": "Namespace", "apiVersion": "v1", "metadata": metadata})
        keeping = asyncio.create_task(room.keep())
        try:
            async with asyncio.timeout(20):
                while "deletionTimestamp" not in await metadata_of(api, "left"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert "deletionTimestamp" not in await metadata_of(api, "used")
        finally:
            await cancel([keeping])
            await api.json("DELETE", f"{NAMESPACES}/used")


def test_lessons_reach_nothing_beyond_their_namespace() -> None:
    assert len(lessons()) == 30 and len(steps()) == 12
    objects = [obj for lesson in lessons().values() for obj in (*lesson.setup.objects, *lesson.broken)]
    objects += [obj for step in steps() for obj in (*step.objects, *step.removed)]
    for obj in objects:
        assert path_of(obj, "here").startswith(("/api/v1/namespaces/here/", "/apis/")) and "/namespaces/here/" in path_of(obj, "here")
        assert "namespace" not in obj["metadata"] and obj["kind"] in KINDS
        text = orjson.dumps(obj)
        for word in (b"hostPath", b"hostNetwork", b"hostPort", b"hostPID", b"privileged", b"nodePort", b"LoadBalancer", b"externalIPs"):
            assert word not in text, f"{obj['kind']} {obj['metadata']['name']} has {word!r}"


def test_a_kind_that_reaches_further_is_not_made() -> None:
    with pytest.raises(KeyError):
        path_of({"kind": "ClusterRoleBinding", "metadata": {"name": "x"}}, "here")


def test_each_lessons_fault_changes_something_and_its_cause_is_offered_beside_others() -> None:
    for lesson in lessons().values():
        assert lesson.broken != list(lesson.setup.objects) and len(set(lesson.others)) == 3 and lesson.seen
    causes = [lesson.cause[language] for lesson in lessons().values() for language in ("en", "ko")]
    assert len(set(causes)) == len(causes)


def test_a_fault_says_only_what_is_otherwise() -> None:
    base = {"spec": {"replicas": 2, "containers": [{"name": "web", "image": "a", "ports": [1]}, {"name": "log"}]}}
    over = {"spec": {"replicas": None, "containers": [{"name": "web", "image": "b"}]}}
    assert merge(base, over) == {"spec": {"containers": [{"name": "web", "image": "b", "ports": [1]}, {"name": "log"}]}}


PODS = [
    {"metadata": {"name": f"web-{number}", "namespace": "here", "uid": str(number), "labels": {"app": "web"}},
     "status": {"phase": "Running", "containerStatuses": [{"restartCount": number, "message": "no room"}]}}
    for number in range(3)
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"of": "pods"}, True),
        ({"of": "pods", "count": 4}, False),
        ({"of": "pods", "count": 0}, False),
        ({"of": "pods", "labels": {"app": "wbe"}, "count": 0}, True),
        ({"of": "pods", "name": "web-1", "at": "status.phase", "is": ["Running", "Pending"]}, True),
        ({"of": "pods", "at": "status.phase", "is": "Failed"}, False),
        ({"of": "pods", "at": "status.containerStatuses.*.restartCount", "least": 2}, True),
        ({"of": "pods", "at": "status.containerStatuses.*.restartCount", "least": 1, "count": 3}, False),
        ({"of": "pods", "at": "status.containerStatuses.*.message", "says": "room"}, True),
        ({"of": "pods", "at": "status.reason", "is": None, "count": 3}, True),
        ({"of": "pods", "at": "spec.nodeName", "says": "x"}, False),
        ({"of": "pods", "fresh": True}, True),
        ({"of": "pods", "fresh": True, "count": 2}, False),
    ],
)
def test_checks(check: dict[str, Any], expected: bool) -> None:
    asked = count()

    def objects(resource: str, namespace: str) -> list[dict[str, Any]]:
        next(asked)
        assert (resource, namespace) == ("pods", "here")
        return PODS

    assert holds(check, objects, "here", {"0", "1"}) is expected
    assert next(asked) == 1
