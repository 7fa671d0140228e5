"""What the audit log tells of a request: the same by REST, by gRPC and from within the process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.envelope import wrap
from knarr.machinery.errors import Forbidden, NotFound, StatusError
from knarr.machinery.resources import Resource
from knarr.service.authentication import User
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.catalog import PLUGINS
from services.apiserver.audit.auditor import Auditor
from services.apiserver.audit.backlog import Backlog
from services.apiserver.audit.policy import RECEIVED, Level, Policy, Rule
from services.apiserver.authorization import ALLOW_AUTHENTICATED, refusal
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.request import Request
from tests.support.faces import RestClient, rpc_client

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
BROKEN, PATCHED = "broken", "patched"


class NoSink:
    def write(self, lines: bytes) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


class Kept(Backlog):
    """Lines as they come."""

    def __init__(self) -> None:
        super().__init__(NoSink(), "kept")
        self._heard: list[dict[str, Any]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        lines, count = self.taken()
        found = b"".join(line if isinstance(line, bytes) else line.line() for line in lines).splitlines()
        assert len(found) == count
        self._heard += map(orjson.loads, found)
        return self._heard

    def take(self) -> list[dict[str, Any]]:
        found, self._heard = self.events, []
        return found


class Notes:
    """Annotates what is created, and breaks where it is told to."""

    name: ClassVar[str] = "Notes"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource.plural == "configmaps"

    async def validate(self, attributes: Attributes) -> None:
        if attributes.name == BROKEN:
            raise RuntimeError("it broke")
        attributes.annotate("notes.example/seen", attributes.name)
        if attributes.name == PATCHED:
            attributes.annotate("patch.webhook.admission.k8s.io/round_0_index_0", "{}")


class NoSecrets:
    """Nobody reads secrets."""

    def authorize(self, request: Request) -> None:
        ALLOW_AUTHENTICATED.authorize(request)
        if request.resource.plural == "secrets":
            raise refusal(request)


@asynccontextmanager
async def world(*rules: Rule, omitted: frozenset[str] = frozenset((RECEIVED,))) -> AsyncIterator[tuple[ApiInMemory, Kept]]:
    kept = Kept()
    policy = Policy(rules or [Rule(Level.METADATA)], omitted, omits_managed_fields=True)
    plugins = [*PLUGINS, lambda _: Notes()]
    async with ApiInMemory(plugins=plugins, authorizer=NoSecrets(), auditor=Auditor(policy, kept)) as api:
        yield api, kept


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}


async def test_a_request_by_rest() -> None:
    async with world() as (api, kept):
        answer = await RestClient(api).call("POST", f"{CONFIG_MAPS}?fieldManager=me", config_map("one"), user_agent="kubectl/v1")
        (event,) = kept.take()
    assert STAMP.fullmatch(event.pop("requestReceivedTimestamp"))
    assert STAMP.fullmatch(event.pop("stageTimestamp"))
    assert answer.headers["audit-id"] == [event.pop("auditID")]
    assert event == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "stage": "ResponseComplete",
        "requestURI": f"{CONFIG_MAPS}?fieldManager=me",
        "verb": "create",
        "user": {"username": "admin", "groups": ["system:masters"]},
        "sourceIPs": [],
        "userAgent": "kubectl/v1",
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "one", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": "",
            "notes.example/seen": "one",
        },
    }


async def test_a_namespace_lies_in_itself() -> None:
    async with world() as (api, kept):
        await RestClient(api).get("/api/v1/namespaces/default")
        (event,) = kept.take()
    assert event["objectRef"] == {"resource": "namespaces", "namespace": "default", "name": "default", "apiVersion": "v1"}


async def test_each_of_those_from_within_that_come_again_is_told_by_its_own_name() -> None:
    async with world() as (api, kept):
        client = api.client()
        for name in ("one", "two"):
            await client.create(core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default")))
        first, second = kept.take()
    assert [event["objectRef"]["name"] for event in (first, second)] == ["one", "two"]
    assert first["auditID"] != second["auditID"]
    assert [event["annotations"]["notes.example/seen"] for event in (first, second)] == ["one", "two"]


async def test_a_request_by_grpc_and_one_from_within(tmp_path: Path) -> None:
    async with world(Rule(Level.REQUEST_RESPONSE)) as (api, kept), rpc_client(api, tmp_path) as remote:
        for number, client in enumerate((remote, api.client())):
            made = core.ConfigMap(metadata=meta.ObjectMeta(name=f"n{number}", namespace="default"), data={"a": "b"})
            await client.create(made)
            with pytest.raises(NotFound):
                await client.get(core.ConfigMap, "missing", "default")
            with pytest.raises(Forbidden):
                await client.list(core.Secret, "default")
            # The last line of a call may come an instant behind its answer.
            events = kept.take()
            assert [(event["verb"], event["responseStatus"]["code"]) for event in events] == [("create", 201), ("get", 404), ("list", 403)]
            assert events[0]["responseObject"]["data"] == {"a": "b"}
            assert "managedFields" not in events[0]["responseObject"]["metadata"]
            assert events[1]["responseStatus"]["reason"] == "NotFound"
            assert events[2]["annotations"]["authorization.k8s.io/decision"] == "forbid"
            assert "secrets is forbidden" in events[2]["annotations"]["authorization.k8s.io/reason"]
            assert {event["user"]["username"] for event in events} == {"admin"}
            if client is remote:
                assert events[0]["sourceIPs"] == ["127.0.0.1"]
                assert events[0]["requestObject"]["data"] == {"a": "b"}
                assert "grpc" in events[0]["userAgent"]


async def test_what_is_created_is_named_also_where_the_server_names_it_or_refuses() -> None:
    async with world() as (api, kept):
        client = RestClient(api)
        await client.call("POST", CONFIG_MAPS, {"metadata": {"generateName": "some-"}})
        await client.call("POST", CONFIG_MAPS, config_map("one"))
        await client.call("POST", CONFIG_MAPS, config_map("one"))
        found = [(event["objectRef"]["name"][:5], event["responseStatus"]["code"]) for event in kept.take()]
    assert found == [("some-", 201), ("one", 201), ("one", 409)]


async def test_each_level_keeps_what_it_says() -> None:
    expected = {Level.METADATA: set(), Level.REQUEST: {"requestObject"}, Level.REQUEST_RESPONSE: {"requestObject", "responseObject"}}
    for level, objects in expected.items():
        async with world(Rule(level)) as (api, kept):
            await RestClient(api).call("POST", CONFIG_MAPS, config_map("one"))
            (event,) = kept.take()
        assert {"requestObject", "responseObject"} & event.keys() == objects
        if level is Level.REQUEST_RESPONSE:
            assert event["requestObject"] == config_map("one")
            assert event["responseObject"]["data"] == {"a": "b"}


async def test_patches_of_webhooks_are_told_where_bodies_are() -> None:
    for level, told in ((Level.METADATA, False), (Level.REQUEST, True)):
        async with world(Rule(level)) as (api, kept):
            await RestClient(api).call("POST", CONFIG_MAPS, config_map(PATCHED))
            (event,) = kept.take()
        assert ("patch.webhook.admission.k8s.io/round_0_index_0" in event["annotations"]) is told


async def test_bodies_in_every_form_are_kept_as_json() -> None:
    raw = core.ConfigMap(metadata=meta.ObjectMeta(name="two"), data={"a": "b"}).SerializeToString()
    forms = {
        "application/vnd.kubernetes.protobuf": wrap("v1", "ConfigMap", raw),
        "application/yaml": b"metadata: {name: three}\ndata: {a: b}\n",
        "application/json": b'{\n"metadata": {"name": "four"},\n"data": {"a": "b"}}',
    }
    async with world(Rule(Level.REQUEST_RESPONSE)) as (api, kept):
        client = RestClient(api)
        for media_type, body in forms.items():
            answer = await client.call("POST", CONFIG_MAPS, body, content_type=media_type, accept=media_type)
            assert answer.status == 201
            (event,) = kept.take()
            assert event["requestObject"]["data"] == {"a": "b"}
            if media_type != "application/yaml":
                assert event["responseObject"]["data"] == {"a": "b"}
        await client.call("PATCH", f"{CONFIG_MAPS}/two", {"data": {"c": "d"}}, content_type="application/merge-patch+json")
        (event,) = kept.take()
        assert (event["verb"], event["requestObject"]) == ("patch", {"data": {"c": "d"}})
        await client.call("POST", CONFIG_MAPS, b"{no json")
        (event,) = kept.take()
        assert event["responseStatus"]["code"] == 400
        assert "requestObject" not in event


async def test_receipt_is_told_first_where_it_is_kept() -> None:
    async with world(omitted=frozenset()) as (api, kept):
        await RestClient(api).get(f"{CONFIG_MAPS}/one")
        events = kept.take()
    assert [event["stage"] for event in events] == ["RequestReceived", "ResponseComplete"]
    assert len({event["auditID"] for event in events}) == 1
    assert "responseStatus" not in events[0]
    assert events[0]["requestReceivedTimestamp"] == events[0]["stageTimestamp"]


async def test_a_watch_has_a_beginning_and_an_end() -> None:
    async with world() as (api, kept):
        await RestClient(api).get(f"{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion=1")
        events = kept.take()
    assert [(event["verb"], event["stage"], event["responseStatus"]["code"]) for event in events] == [
        ("watch", "ResponseStarted", 200),
        ("watch", "ResponseComplete", 200),
    ]


async def test_a_watch_by_grpc_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    async with world() as (api, kept):
        async with rpc_client(api, tmp_path) as client:
            watching = asyncio.ensure_future(anext(client.watch(core.ConfigMap, "default", resource_version="1")))
            async with asyncio.timeout(10):
                while not kept.events:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            watching.cancel()
        async with asyncio.timeout(10):
            while len(kept.events) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert [(event["verb"], event["stage"]) for event in kept.events] == [("watch", "ResponseStarted"), ("watch", "ResponseComplete")]


async def test_what_breaks_is_told_as_a_panic() -> None:
    async with world() as (api, kept):
        assert (await RestClient(api).call("POST", CONFIG_MAPS, config_map(BROKEN))).status == 500
        (event,) = kept.take()
    assert (event["stage"], event["responseStatus"]["code"]) == ("Panic", 500)
    assert event["responseStatus"]["message"] == "RuntimeError: it broke"


async def test_who_is_not_known_is_told_without_a_name() -> None:
    async with world() as (api, kept):
        assert (await RestClient(api).get(CONFIG_MAPS, authorization="Bearer wrong")).status == 401
        (event,) = kept.take()
    assert (event["user"], event["verb"], event["responseStatus"]["code"]) == ({}, "get", 401)
    assert event["responseStatus"]["reason"] == "Unauthorized"


async def test_who_plays_somebody_is_told_with_whom_he_plays() -> None:
    async with world() as (api, kept):
        await RestClient(api).get(f"{CONFIG_MAPS}/one", impersonate_user="jane")
        event = kept.take()[-1]
    assert event["user"]["username"] == "admin"
    assert event["impersonatedUser"] == {"username": "jane", "groups": ["system:authenticated"]}


async def test_paths_and_methods_that_are_none() -> None:
    async with world() as (api, kept):
        client = RestClient(api)
        for method, path, code in (("GET", "/version", 200), ("GET", "/nowhere", 404), ("PUT", CONFIG_MAPS, 405)):
            assert (await client.call(method, path)).status == code
            (event,) = kept.take()
            assert (event["verb"], event["responseStatus"]["code"]) == (method.lower(), code)
            assert ("objectRef" in event) is (path == CONFIG_MAPS)


async def test_a_client_may_name_its_request_but_not_write_headers_by_it() -> None:
    async with world() as (api, kept):
        client = RestClient(api)
        assert (await client.get("/version", audit_id="mine-1")).headers["audit-id"] == ["mine-1"]
        for name in ("a b", "a\r\nx: y", "é", "x" * 100):
            (given,) = (await client.get("/version", audit_id=name)).headers["audit-id"]
            assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", given)
        assert len({event["auditID"] for event in kept.take()}) == 5


async def test_what_is_remembered_of_a_request_is_told_of_its_like_alone() -> None:
    """Each of these differs from the one before in one thing, and comes twice."""
    async with world() as (api, kept):
        client = RestClient(api)
        path = f"{CONFIG_MAPS}/one"
        calls: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", path, {"user_agent": "first"}),
            ("GET", path, {"user_agent": "second"}),
            ("GET", f"{path}?pretty=1", {"user_agent": "second"}),
            ("DELETE", f"{path}?pretty=1", {"user_agent": "second"}),
            ("DELETE", f"{CONFIG_MAPS}/two?pretty=1", {"user_agent": "second"}),
            ("DELETE", f"{CONFIG_MAPS}/two?pretty=1", {"user_agent": "second", "x_real_ip": "10.0.0.3"}),
            ("DELETE", f"{CONFIG_MAPS}/two?pretty=1", {"user_agent": "second", "impersonate_user": "jane"}),
        ]
        for method, uri, headers in calls:
            for _ in range(2):
                await client.call(method, uri, **headers)
                event = kept.take()[-1]
                assert (event["requestURI"], event["userAgent"]) == (uri, headers["user_agent"])
                assert event["verb"] == method.lower()
                assert event["objectRef"]["name"] == uri.partition("?")[0].rpartition("/")[2]
                assert event["sourceIPs"] == [address for name, address in headers.items() if name == "x_real_ip"]
                assert event.get("impersonatedUser", {}).get("username") == headers.get("impersonate_user")


async def test_addresses_come_from_headers_and_the_connection() -> None:
    async with world() as (api, kept):
        await RestClient(api).get("/version", x_forwarded_for="10.0.0.1, 10.0.0.2", x_real_ip="10.0.0.3")
        (event,) = kept.take()
    assert event["sourceIPs"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


async def test_what_strangers_choose_is_bounded() -> None:
    async with world() as (api, kept):
        await RestClient(api).get("/version?" + "x" * 100_000, user_agent="a" * 5000, x_forwarded_for=",".join(["1" * 100] * 1000))
        (event,) = kept.take()
    assert len(event["requestURI"]) == 8192
    assert event["userAgent"] == "a" * 1024 + "...TRUNCATED"
    assert len(event["sourceIPs"]) <= 16
    assert len(orjson.dumps(event)) < 20_000


async def test_of_what_the_policy_leaves_out_nothing_is_kept() -> None:
    async with world(Rule(Level.NONE, users=("admin",)), Rule(Level.METADATA)) as (api, kept):
        await RestClient(api).get("/version")
        await api.client(User("other", groups=("system:authenticated",))).list(core.ConfigMap, "default")
    assert [event["user"]["username"] for event in kept.take()] == ["other"]


async def test_a_review_of_access_says_nothing_about_itself_in_another_request() -> None:
    """The authorizer is asked about imagined requests too: they are nobody's."""
    async with world() as (api, kept):
        spec = {"resourceAttributes": {"verb": "list", "resource": "secrets", "namespace": "default"}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await RestClient(api).call("POST", path, {"spec": spec})
        assert answer.json["status"]["allowed"] is False
        (event,) = kept.take()
    assert event["annotations"]["authorization.k8s.io/decision"] == "allow"


async def test_each_answer_bears_the_name_of_its_request_also_where_no_log_is_kept() -> None:
    async with ApiInMemory() as api:
        client = RestClient(api)
        answers = [await client.get(path) for path in ("/version", CONFIG_MAPS, f"{CONFIG_MAPS}/missing", "/nowhere", "/livez")]
        assert all(len(answer.headers["audit-id"]) == 1 for answer in answers)
        assert len({answer.headers["audit-id"][0] for answer in answers}) == len(answers)
        assert (await client.get(CONFIG_MAPS, audit_id="mine")).headers["audit-id"] == ["mine"]
        assert api.client(ADMIN)
        with pytest.raises(StatusError):
            await api.client().get(core.ConfigMap, "missing", "default")
