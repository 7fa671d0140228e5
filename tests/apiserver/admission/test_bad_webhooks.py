"""Webhooks that are dead, slow, lying, or something else than a webhook: what a request fails with, and that it passes where it may."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import InternalError, Invalid, StatusError
from knarr.service.certificates import CertificateAuthority
from services.apiserver.admission import shown
from services.apiserver.webhooks import client as limits
from tests.apiserver.admission.reviewed import Json, Reviewed, allowed, answering, config_map, patched, ref, reviewed

FAILED = r'Internal error occurred: failed calling webhook "w0\.example\.org": '
INVALID = FAILED + "received invalid webhook response: "
CALLED = FAILED + "failed to call webhook: "


NOTHING: Json = {}


async def sleep(body: Json) -> Any:
    await asyncio.sleep(60)


def raw(content: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Callable[[Json], Awaitable[Any]]:
    async def answer(body: Json) -> web.Response:
        return web.Response(body=content, status=status, content_type=content_type, headers=headers)

    return answer


def changed(response: Json | None = NOTHING, **head: str) -> Callable[[Json], Awaitable[Any]]:
    """The answer that lets pass, but for what is changed in it."""

    async def answer(body: Json) -> Json:
        found = allowed(body)
        return {**found, "response": {**found["response"], **response} if response is not None else None, **head}

    return answer


# Named for what it does, with the words of the failure.
BAD: dict[str, tuple[Callable[[Json], Awaitable[Any]], str]] = {
    "server error": (raw(b"boom", 500), CALLED + 'an error on the server \\("boom"\\) has prevented the request from succeeding'),
    "redirect": (raw(b"", 302, Location="https://127.0.0.1:1/"), CALLED + "the webhook answered 302 and leads elsewhere"),
    "empty": (raw(b""), INVALID + "couldn't get version/kind; json parse error"),
    "no JSON": (raw(b"<html>", content_type="text/html"), INVALID + "couldn't get version/kind; json parse error"),
    "a list": (raw(b"[]"), INVALID + "the answer is no JSON object"),
    "deep": (raw(b'{"response":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}"), INVALID + "exceeded max depth"),
    "many": (raw(b'{"response":[' + b"1," * 60_000 + b"1]}"), INVALID + "the object has too many fields and elements"),
    "huge": (raw(b" " * (limits.MAX_BYTES + 1)), CALLED + 'Post ".*": the answer has more than 16777216 bytes'),
    "no response": (changed(response=None), INVALID + "webhook response was absent"),
    "another uid": (changed(response={"uid": "other"}), INVALID + 'expected response.uid="[0-9a-f-]{36}", got "other"'),
    "another version": (
        changed(apiVersion="admission.k8s.io/v2"),
        INVALID + "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v2, Kind=AdmissionReview",
    ),
    "another kind": (changed(kind="Pod"), INVALID + "expected webhook response of .*, got admission.k8s.io/v1, Kind=Pod"),
    "allowed by word": (changed(response={"allowed": "yes"}), INVALID + "response.allowed is not a boolean"),
    "status of no kind": (changed(response={"status": "x"}), INVALID + "response.status is no JSON object"),
    "status of other types": (changed(response={"status": {"code": "x"}}), INVALID + "response.status: "),
    "warnings of no kind": (changed(response={"warnings": [1]}), INVALID + "response.warnings is no list of strings"),
    "annotations of no kind": (
        changed(response={"auditAnnotations": {"a": 1}}),
        INVALID + "response.auditAnnotations is no map of",
    ),
    "slow": (sleep, CALLED + 'Post ".*": context deadline exceeded'),
}
PATCHES: dict[str, tuple[Callable[[Json], Awaitable[Any]], str]] = {
    "patch without a type": (changed(response={"patch": "W10="}), INVALID + "webhook returned response.patch but not response.patchType"),
    "type without a patch": (
        changed(response={"patchType": "JSONPatch"}),
        INVALID + "webhook returned response.patchType but not response.patch",
    ),
    "another type": (changed(response={"patch": "W3t9XQ==", "patchType": "Merge"}), FAILED + 'unsupported patch type "Merge"'),
    "no base64": (changed(response={"patch": "!", "patchType": "JSONPatch"}), INVALID + "response.patch is no base64"),
    "no JSON": (changed(response={"patch": "eA==", "patchType": "JSONPatch"}), FAILED + "received undecodable patch in webhook response"),
    "an object": (
        changed(response={"patch": base64.b64encode(b"{}").decode(), "patchType": "JSONPatch"}),
        FAILED + "received undecodable patch in webhook response: expected a JSON array",
    ),
}


async def _fails(world: Reviewed, sort: str, words: str) -> None:
    await world.configure(sort, {"timeoutSeconds": 1 if "deadline" in words else 30})
    with pytest.raises(InternalError, match=words) as failed:
        await world.create(config_map())
    assert failed.value.code == 500 and world.api.all(core.ConfigMap) == []


async def _is_passed_over(world: Reviewed, sort: str) -> None:
    where = ref(type(world.configuration(sort)), "hooks")
    ignoring = b'[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]'
    await world.caller.patch(where, "json", ignoring, meta.PatchOptions())
    await world.create(config_map())


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_answer_is_a_failure_that_may_be_ignored(name: str, sort: str) -> None:
    answer, words = BAD[name]
    async with reviewed(answer) as world:
        await _fails(world, sort, words)
        await _is_passed_over(world, sort)


@pytest.mark.parametrize("name", PATCHES)
async def test_what_is_no_patch_is_a_failure_that_may_be_ignored(name: str) -> None:
    answer, words = PATCHES[name]
    async with reviewed(answer) as world:
        await _fails(world, "Mutating", words)
        await _is_passed_over(world, "Mutating")


@pytest.mark.parametrize("response, words", [({"patch": "W10="}, "response.patch"), ({"patchType": "JSONPatch"}, "response.patchType")])
async def test_who_validates_brings_no_patch(response: Json, words: str) -> None:
    async with reviewed(changed(response=response)) as world:
        await _fails(world, "Validating", INVALID + f"validating webhook may not return {words}")


async def test_in_v1beta1_neither_the_uid_nor_the_version_is_looked_at() -> None:
    async with reviewed(changed(response={"uid": "other", "patch": "W10="}, apiVersion="x", kind="y")) as world:
        await world.configure("Mutating", {"admissionReviewVersions": ["v1beta1"]})
        await world.create(config_map())


@pytest.mark.parametrize("content_type", ["text/plain", "application/yaml", "application/octet-stream"])
async def test_what_an_answer_calls_itself_does_not_matter(content_type: str) -> None:
    """As in Kubernetes: it is read as JSON."""

    async def answer(body: Json) -> web.Response:
        return web.Response(body=orjson.dumps(allowed(body)), content_type=content_type)

    async with reviewed(answer) as world:
        await world.configure("Validating")
        await world.create(config_map())


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
async def test_a_webhook_that_is_not_there(sort: str) -> None:
    async with reviewed() as world:
        client = {"url": "https://127.0.0.1:1/x"}
        await world.configure(sort, {"clientConfig": client})
        with pytest.raises(InternalError, match=CALLED + r'Post "https://127\.0\.0\.1:1/x\?timeout=5s": dial tcp 127\.0\.0\.1:1: '):
            await world.create(config_map())
        await _is_passed_over(world, sort)


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
async def test_a_service_that_is_not_there(sort: str) -> None:
    async with reviewed() as world:
        service = {"name": "hook", "namespace": "default"}
        await world.configure(sort, {"clientConfig": {"service": service}})
        with pytest.raises(InternalError, match=CALLED + r'Post "https://hook\.default\.svc:443/\?timeout=5s": services "hook" not found'):
            await world.create(config_map())
        await _is_passed_over(world, sort)


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
async def test_a_webhook_that_is_another_one(sort: str) -> None:
    async with reviewed(names=("other.example.org",)) as world:
        await _fails(world, sort, CALLED + 'Post ".*": x509: certificate is not valid for the name')
        await _is_passed_over(world, sort)


async def test_a_webhook_of_an_authority_that_nobody_knows() -> None:
    async with reviewed() as world:
        stranger = base64.b64encode(CertificateAuthority.create().pair.certificate).decode()
        await world.configure("Validating", {"clientConfig": {"url": world.webhook.url, "caBundle": stranger}})
        with pytest.raises(InternalError, match="x509: certificate signed by unknown authority"):
            await world.create(config_map())


async def test_a_webhook_that_trickles() -> None:
    """Each piece comes in time, the whole does not."""

    class Trickle(web.StreamResponse):
        async def prepare(self, request: web.BaseRequest) -> Any:
            writer = await super().prepare(request)
            try:
                while True:
                    await self.write(b" ")
                    await asyncio.sleep(0.05)
            except (ConnectionError, ssl.SSLError):
                return writer

    async def answer(body: Json) -> web.StreamResponse:
        return Trickle()

    async with reviewed(answer) as world:
        await _fails(world, "Validating", CALLED + 'Post ".*": context deadline exceeded')


@pytest.mark.parametrize(
    "operation, words",
    [
        ({"op": "replace", "path": "/data/none", "value": "x"}, "replace operation does not apply: doc is missing key: /data/none"),
        ({"op": "nonsense", "path": "/data"}, "Unexpected kind: nonsense"),
        ({"op": "add", "path": "/data", "value": [1]}, "cannot unmarshal array"),
        ({"op": "add", "path": "", "value": 1}, "leaves no JSON object"),
        ({"op": "test", "path": "/data", "value": 1}, "testing value /data failed"),
    ],
)
async def test_a_patch_that_does_not_fit_fails_whatever_the_policy(operation: Json, words: str) -> None:
    async with reviewed(answering(patched, operation)) as world:
        await world.configure("Mutating", {"failurePolicy": "Ignore"})
        with pytest.raises(InternalError, match=words):
            await world.create(config_map(a="b"))


async def test_a_patch_that_makes_the_object_invalid_is_the_callers_refusal() -> None:
    async with reviewed(answering(patched, {"op": "add", "path": "/data/bad~1key", "value": "x"})) as world:
        await world.configure("Mutating", {"failurePolicy": "Ignore"})
        with pytest.raises(Invalid, match="bad/key"):
            await world.create(config_map(a="b"))


async def test_a_patch_makes_no_giants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "MAX_BYTES", 1000)
    async with reviewed(answering(patched, {"op": "add", "path": "/data/big", "value": "x" * 2000})) as world:
        await world.configure("Mutating")
        with pytest.raises(StatusError, match="the object would have more than 1000 bytes after admission"):
            await world.create(config_map(a="b"))


async def test_a_webhook_that_writes_what_it_is_asked_about_fails_within_its_time() -> None:
    """Each of its writes asks it again; the server serves on meanwhile."""
    async with reviewed() as world:
        deep = asyncio.Event()

        async def write(body: Json) -> Json:
            depth = len(world.webhook.asked)
            if depth == 3:
                deep.set()
            await world.create(config_map(f"deeper-{depth}"))
            return allowed(body)

        world.webhook.answer = write
        await world.configure("Validating", {"timeoutSeconds": 1})
        looping = asyncio.create_task(world.create(config_map()))
        await deep.wait()
        await world.create(core.Secret(metadata=meta.ObjectMeta(name="s")))
        with pytest.raises(InternalError, match="failed calling webhook"):
            await looping
        assert world.api.all(core.ConfigMap) == []


async def test_a_connection_that_ends_is_asked_again_only_where_that_does_no_harm() -> None:
    async with reviewed() as world:
        await world.configure("Validating", {"sideEffects": "None"}, name="harmless")
        await world.create(config_map("a"))

        async def end(body: Json) -> Any:
            world.webhook.answer = answering(allowed)
            for connection in world.webhook.connections:
                # One that has ended by itself cannot be broken off again in the first releases of Python 3.11.
                if not connection.is_closing():
                    connection.abort()
            await asyncio.sleep(60)

        world.webhook.answer = end
        await world.create(config_map("b"))
        assert len(world.webhook.asked) == 3
        await world.caller.delete(ref(type(world.configuration("Validating")), "harmless"), meta.DeleteOptions())
        await world.configure("Validating", {"sideEffects": "NoneOnDryRun"}, name="acting")
        world.webhook.answer = end
        with pytest.raises(InternalError, match="failed calling webhook"):
            await world.create(config_map("c"))
        await world.create(config_map("d"))
        world.webhook.answer = end
        await world.create(config_map("c"), dry=True)


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
async def test_a_webhook_that_hangs_up(sort: str) -> None:
    async with reviewed() as world:

        async def hang_up(body: Json) -> Any:
            for connection in world.webhook.connections:
                connection.abort()
            await asyncio.sleep(60)

        world.webhook.answer = hang_up
        await _fails(world, sort, CALLED + 'Post ".*": Server disconnected')
        assert len(world.webhook.asked) == 1
        await _is_passed_over(world, sort)


async def test_a_configuration_that_goes_while_its_webhook_is_asked() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def wait(body: Json) -> Json:
        asked.set()
        await answer.wait()
        return allowed(body)

    async with reviewed(wait) as world:
        await world.configure("Mutating")
        writing = asyncio.create_task(world.create(config_map()))
        await asked.wait()
        await world.caller.delete(ref(type(world.configuration("Mutating")), "hooks"), meta.DeleteOptions())
        answer.set()
        await writing
        await world.create(config_map("other"))
        assert len(world.webhook.asked) == 1


async def test_fifty_at_once_are_asked_about_side_by_side() -> None:
    together = asyncio.Barrier(50)

    async def wait(body: Json) -> Json:
        await together.wait()
        return patched(body, {"op": "add", "path": "/data/by", "value": body["request"]["name"]})

    async with reviewed(wait) as world:
        await world.configure("Mutating", {"timeoutSeconds": 30})
        made = await asyncio.gather(*(world.create(config_map(f"c{number}", a="b")) for number in range(50)))
        assert [one.data["by"] for one in made] == [f"c{number}" for number in range(50)]


async def test_who_gives_up_earlier_than_the_webhook_is_told_so() -> None:
    async with reviewed(sleep) as world:
        await world.configure("Validating", {"timeoutSeconds": 30})
        hasty = type(world.caller)(world.caller.api, seconds=0.2)
        with pytest.raises(StatusError):
            await hasty.create(ref(core.ConfigMap), config_map(), meta.CreateOptions())
        assert world.webhook.queries == ["timeout=1s"]
