"""The shell over TLS: who may ask, what is answered in which form, what is refused in which words."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from knarr.machinery.envelope import unwrap, wrap
from knarr.service import certificates as issuing
from knarr.service.certificates import CertificateAuthority
from knarr.service.tls import tls_context
from services.apiserver.rest.application import Application, create_app
from services.apiserver.rest.request import BODY_LIMIT_BYTES
from services.apiserver.rest.server import RestServer
from tests.apiserver.pipeline.world import running
from tests.apiserver.rest.conftest import TOKEN, TOKENS, Certificates
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def config_map(name: str = "c1", **data: str) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default"), data=data)


class TestAuthentication:
    async def test_anonymous_is_refused_but_for_probes_and_version(self, server: RestServer, certificates: Certificates) -> None:
        async with HttpClient(server.port, certificates.client) as client:
            for path in ("/api/v1/pods", "/apis", "/openapi/v3", "/metrics", "/nope", "/healthzz", "/"):
                answer = await client.get(path)
                assert (answer.status, answer.json["reason"], answer.json["message"]) == (401, "Unauthorized", "Unauthorized")
            for path in ("/healthz", "/livez", "/readyz", "/version"):
                assert (await client.get(path)).status == 200

    async def test_a_wrong_token_is_refused(self, server: RestServer, certificates: Certificates) -> None:
        async with HttpClient(server.port, certificates.bob, "wrong") as client:
            assert (await client.get(CONFIG_MAPS)).status == 401

    async def test_a_wrong_token_is_refused_even_what_is_for_everybody(self, server: RestServer, certificates: Certificates) -> None:
        """As in Kubernetes: who names somebody must be them. A scheme that is not known names nobody."""
        async with HttpClient(server.port, certificates.client, "wrong") as client:
            for path in ("/healthz", "/livez", "/readyz", "/version"):
                assert (await client.get(path)).status == 401
        async with HttpClient(server.port, certificates.client) as client:
            assert (await client.get("/version", authorization="Basic YTpi")).status == 200

    async def test_a_token_names_the_user(self, client: HttpClient, api: FakeApi) -> None:
        assert (await client.get(CONFIG_MAPS)).status == 200
        assert api.requests[0].user.name == "alice"

    async def test_a_client_certificate_names_user_and_groups(self, server: RestServer, certificates: Certificates, api: FakeApi) -> None:
        async with HttpClient(server.port, certificates.bob) as client:
            assert (await client.get(CONFIG_MAPS)).status == 200
        user = api.requests[0].user
        assert (user.name, user.groups) == ("bob", ("dev", "ops", "system:authenticated"))

    async def test_an_expired_certificate_is_refused_in_words(
        self, application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        authority = CertificateAuthority.create()
        authority.pair.save(tmp_path, "ca")
        authority.issue("apiserver", hosts=["127.0.0.1"]).save(tmp_path, "server")
        monkeypatch.setattr(issuing, "LEAF_LIFETIME", timedelta(seconds=-1))
        authority.issue("old").save(tmp_path, "old")
        old = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        old.load_cert_chain(tmp_path / "old.crt", tmp_path / "old.key")
        server = RestServer(application, tls_context(*(str(tmp_path / name) for name in ("server.crt", "server.key", "ca.crt"))))
        await server.start()
        try:
            for token, status in (("", 401), (TOKEN, 200)):
                async with HttpClient(server.port, old, token) as client:
                    assert (await client.get(CONFIG_MAPS)).status == status
        finally:
            await server.stop()

    async def test_plain_text_does_not_reach_the_application(self, server: RestServer, api: FakeApi) -> None:
        client = HttpClient(server.port, None)
        await client.connect()
        await client.send("GET", CONFIG_MAPS)
        assert await client.at_end()
        await client.close()
        assert not api.calls


class TestForms:
    async def test_json_is_the_stored_json(self, client: HttpClient, api: FakeApi) -> None:
        entry = api.put(config_map(a="b"))
        answer = await client.get(f"{CONFIG_MAPS}/c1")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, "application/json", entry.json)
        assert answer.json["metadata"]["resourceVersion"] == str(entry.revision)

    async def test_protobuf(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map(a="b"))
        answer = await client.get(f"{CONFIG_MAPS}/c1", accept=f"{PROTOBUF},application/json")
        unknown = unwrap(answer.body)
        assert (answer.headers["content-type"], unknown.type_meta.kind, unknown.type_meta.api_version) == (PROTOBUF, "ConfigMap", "v1")
        assert core.ConfigMap.FromString(unknown.raw).data == {"a": "b"}

    async def test_protobuf_list(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map("c1"))
        api.put(config_map("c2", a="x" * 300))
        unknown = unwrap((await client.get(f"{CONFIG_MAPS}?limit=1", accept=PROTOBUF)).body)
        found = core.ConfigMapList.FromString(unknown.raw)
        assert unknown.type_meta.kind == "ConfigMapList"
        assert (found.metadata.resource_version, found.metadata.continue_token, found.metadata.remaining_item_count) == ("12", "more", 1)
        whole = core.ConfigMapList.FromString(unwrap((await client.get(CONFIG_MAPS, accept=PROTOBUF)).body).raw)
        assert [item.metadata.name for item in whole.items] == ["c1", "c2"]

    async def test_yaml(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map(a="b"))
        answer = await client.get(f"{CONFIG_MAPS}/c1", accept="application/yaml")
        assert answer.headers["content-type"] == "application/yaml"
        assert yaml.safe_load(answer.body)["data"] == {"a": "b"}

    async def test_list(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map("c1"))
        api.put(config_map("c2"))
        found = (await client.get(f"{CONFIG_MAPS}?limit=1")).json
        assert (found["kind"], found["apiVersion"]) == ("ConfigMapList", "v1")
        assert found["metadata"] == {"resourceVersion": "12", "continue": "more", "remainingItemCount": 1}
        assert [item["metadata"]["name"] for item in found["items"]] == ["c1"]

    async def test_partial_metadata(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map(a="b"))
        accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        found = (await client.get(f"{CONFIG_MAPS}/c1", accept=accept)).json
        assert (found["kind"], found["apiVersion"], found["metadata"]["name"]) == ("PartialObjectMetadata", "meta.k8s.io/v1", "c1")
        assert set(found) == {"kind", "apiVersion", "metadata"}
        found = (await client.get(CONFIG_MAPS, accept=accept.replace("Metadata;", "MetadataList;"))).json
        assert (found["kind"], [item["metadata"]["name"] for item in found["items"]]) == ("PartialObjectMetadataList", ["c1"])

    async def test_partial_metadata_as_protobuf(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map(a="b"))
        accept = f"{PROTOBUF};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        unknown = unwrap((await client.get(CONFIG_MAPS, accept=accept)).body)
        assert (unknown.type_meta.kind, unknown.type_meta.api_version) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
        assert [item.metadata.name for item in meta.PartialObjectMetadataList.FromString(unknown.raw).items] == ["c1"]

    @pytest.mark.parametrize(
        ("include", "kind"), [("", "PartialObjectMetadata"), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap"), ("None", None)]
    )
    async def test_tables(self, client: HttpClient, api: FakeApi, include: str, kind: str | None) -> None:
        api.put(config_map(a="b"))
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        table = (await client.get(f"{CONFIG_MAPS}?includeObject={include}", accept=accept)).json
        assert (table["kind"], table["apiVersion"], table["metadata"]) == ("Table", "meta.k8s.io/v1", {"resourceVersion": "11"})
        assert table["columnDefinitions"][0]["name"] == "Name"
        row = table["rows"][0]
        assert row["cells"][0] == "c1" and len(row["cells"]) == len(table["columnDefinitions"])
        assert (row["object"] or {}).get("kind") == kind

    async def test_unknown_include_object(self, client: HttpClient) -> None:
        answer = await client.get(f"{CONFIG_MAPS}?includeObject=All", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert answer.status == 400

    async def test_not_acceptable(self, client: HttpClient) -> None:
        answer = await client.get(CONFIG_MAPS, accept="text/html")
        assert (answer.status, answer.json["reason"]) == (406, "NotAcceptable")

    async def test_an_error_is_a_line(self, client: HttpClient) -> None:
        for path in (f"{CONFIG_MAPS}/none", "/api/v1/nopes"):
            answer = await client.get(path)
            assert answer.status == 404 and answer.body.endswith(b"}\n")

    @pytest.mark.parametrize("path", [CONFIG_MAPS, "/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"])
    @pytest.mark.parametrize("accept", ["text/plain", "application/json;as=Table;v=v9;g=meta.k8s.io", "application/json;q=0"])
    async def test_what_nothing_satisfies_is_not_acceptable(self, client: HttpClient, path: str, accept: str) -> None:
        answer = await client.get(path, accept=accept)
        assert (answer.status, answer.json["reason"]) == (406, "NotAcceptable")
        assert (await client.get(path, accept=f"{accept}, */*;q=0.1")).status == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_what_cannot_be_answered_is_not_done(self, client: HttpClient, api: FakeApi, method: str) -> None:
        path = CONFIG_MAPS if method == "POST" else f"{CONFIG_MAPS}/c1"
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        for accept in ("application/cbor", "application/json;as=Table;v=v1;g=meta.k8s.io"):
            query = "?includeObject=All" if "Table" in accept else ""
            body = {} if method == "DELETE" else {"metadata": {"name": "c1"}}
            answer = await client.request(method, path + query, body, accept=accept, content_type=content_type)
            assert answer.status == (400 if query else 406)
        assert not api.calls


class TestDeadlines:
    async def test_a_request_waits_no_longer_than_its_timeout(self, certificates: Certificates) -> None:
        async def hang(phase: str, attributes: object) -> bool:
            await asyncio.Event().wait()
            return False

        async with running() as world:
            world.witness.act = hang
            server = RestServer(create_app(world.caller.api, TOKENS, registry()), certificates.server)
            await server.start()
            async with HttpClient(server.port, certificates.client, TOKEN) as client:
                answer = await client.request("POST", f"{CONFIG_MAPS}?timeout=20ms", {"metadata": {"name": "c1"}})
            await server.stop()
        assert (answer.status, answer.json["reason"]) == (504, "Timeout")
        assert "request did not complete within requested timeout" in answer.json["message"]
        assert "retry-after" not in answer.headers

    @pytest.mark.parametrize(("timeout", "seconds"), [("30s", 30), ("0", 60), ("-1s", 60), ("10m", 60), ("", 60)])
    async def test_the_deadline_is_the_timeout_or_a_minute(self, client: HttpClient, api: FakeApi, timeout: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert (await client.get(f"{CONFIG_MAPS}?timeout={timeout}")).status == 200
        assert before + seconds <= api.requests[0].deadline <= loop.time() + seconds

    async def test_a_timeout_that_is_none_is_refused(self, client: HttpClient, api: FakeApi) -> None:
        assert (await client.get(f"{CONFIG_MAPS}?timeout=soon")).status == 400
        assert not api.requests


class TestBodies:
    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("application/json", b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c1"},"data":{"a":"2020-01-01"}}'),
            ("", b'{"metadata":{"name":"c1"},"data":{"a":"2020-01-01"}}'),
            ("application/yaml", b"metadata:\n  name: c1\ndata:\n  a: 2020-01-01\n"),
            (PROTOBUF, wrap("v1", "ConfigMap", core.ConfigMap(metadata={"name": "c1"}, data={"a": "2020-01-01"}).SerializeToString())),
        ],
    )  # fmt: skip
    async def test_accepted(self, client: HttpClient, api: FakeApi, content_type: str, body: bytes) -> None:
        answer = await client.request("POST", CONFIG_MAPS, body, content_type=content_type)
        assert answer.status == 201, answer.body
        _, ref, obj, options = api.calls[0]
        assert (ref.namespace, ref.name, obj.metadata.name, obj.data["a"]) == ("default", "", "c1", "2020-01-01")
        assert options.field_validation == "Warn"

    @pytest.mark.parametrize(
        ("content_type", "body", "words"),
        [
            ("application/json", b"", "(must be of type ConfigMap): couldn't get version/kind; json parse error"),
            ("application/json", b"{", "couldn't get version/kind; json parse error"),
            ("application/json", b"[1]", "cannot unmarshal array"),
            ("application/json", b'{"kind":"Pod"}', 'Pod in version "v1" cannot be handled as a ConfigMap'),
            ("application/json", b'{"apiVersion":"v2"}', "the API version in the data (v2) does not match the expected API version (v1)"),
            ("application/json", b'{"data":{"a":1}}', 'ConfigMap in version "v1" cannot be handled as a ConfigMap'),
            ("application/yaml", b"a: [", "error converting YAML to JSON"),
            ("application/yaml", b"a: \xff", "error converting YAML to JSON"),
            ("application/yaml", b"- a", "must be an object"),
            (PROTOBUF, b"{}", "does not appear to be a protobuf message"),
            (PROTOBUF, b"", "the body is empty"),
            (PROTOBUF, b"k8s\x00\xff\xff", 'ConfigMap in version "v1" cannot be handled as a ConfigMap'),
            (PROTOBUF, wrap("v1", "ConfigMap", b"\x0a\xff"), 'ConfigMap in version "v1" cannot be handled as a ConfigMap'),
            (PROTOBUF, wrap("v1", "Pod", b""), 'Pod in version "v1" cannot be handled as a ConfigMap'),
        ],
    )  # fmt: skip
    async def test_refused(self, client: HttpClient, api: FakeApi, content_type: str, body: bytes, words: str) -> None:
        answer = await client.request("POST", CONFIG_MAPS, body, content_type=content_type)
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
        assert words in answer.json["message"]
        assert not api.calls

    async def test_unsupported_media_type(self, client: HttpClient) -> None:
        answer = await client.request("POST", CONFIG_MAPS, b"x", content_type="text/plain")
        assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_too_large(self, server: RestServer, certificates: Certificates, api: FakeApi, chunked: bool) -> None:
        body = b'{"data":{"a":"' + b"x" * BODY_LIMIT_BYTES + b'"}}'
        async with HttpClient(server.port, certificates.client, TOKEN) as client:
            if chunked:
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                await client.send("POST", CONFIG_MAPS, body, content_length="", transfer_encoding="chunked")
            else:
                await client.send("POST", CONFIG_MAPS, body)
            answer = await client.answer()
        assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")
        assert answer.json["message"] == "Request entity too large: limit is 3145728"
        assert not api.calls

    async def test_unknown_fields(self, client: HttpClient, api: FakeApi) -> None:
        body = {"metadata": {"name": "c1"}, "nope": 1}
        strict = await client.request("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", body)
        assert strict.status == 400 and 'strict decoding error: unknown field "nope"' in strict.json["message"]
        warned = await client.request("POST", CONFIG_MAPS, body)
        assert (warned.status, warned.warnings) == (201, ['299 - "unknown field \\"nope\\""'])
        ignored = await client.request("POST", f"{CONFIG_MAPS}?fieldValidation=Ignore", body)
        assert (ignored.status, ignored.warnings) == (201, [])

    async def test_warnings_of_the_pipeline(self, client: HttpClient, api: FakeApi) -> None:
        api.warnings = ['say "hi"\r\nX-Evil: 1']
        answer = await client.request("POST", CONFIG_MAPS, {"metadata": {"name": "c1"}})
        assert answer.warnings == ['299 - "say \\"hi\\"  X-Evil: 1"']
        assert "x-evil" not in answer.headers


class TestVerbs:
    async def test_patches(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map())
        for media_type, patch_type in (
            ("merge-patch+json", "merge"),
            ("strategic-merge-patch+json", "strategic"),
            ("json-patch+json", "json"),
        ):
            answer = await client.request("PATCH", f"{CONFIG_MAPS}/c1?dryRun=All", {"a": 1}, content_type=f"application/{media_type}")
            assert answer.status == 200
            patches = [call for call in api.calls if call[0] == "patch"]
            assert patches[-1][2:4] == (patch_type, b'{"a":1}') and patches[-1][4].dry_run == ["All"]
        answer = await client.request("PATCH", f"{CONFIG_MAPS}/c1", b"data: {a: b}", content_type="application/apply-patch+yaml")
        assert [call for call in api.calls if call[0] == "patch"][-1][2:4] == ("apply", b"data: {a: b}")

    async def test_delete(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map())
        answer = await client.request(
            "DELETE", f"{CONFIG_MAPS}/c1", {"propagationPolicy": "Background", "kind": "DeleteOptions", "apiVersion": "v1"}
        )
        assert (answer.status, answer.json["kind"], answer.json["status"]) == (200, "Status", "Success")
        assert api.calls[0][2] == meta.DeleteOptions(propagation_policy="Background")

    async def test_delete_collection(self, client: HttpClient, api: FakeApi) -> None:
        answer = await client.request("DELETE", f"{CONFIG_MAPS}?labelSelector=a%3Db")
        assert (answer.status, answer.json["kind"], answer.json["items"]) == (200, "ConfigMapList", [])
        assert api.calls[0][2].label_selector == "a=b"

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/api/v1/configmaps"), ("DELETE", "/api/v1/configmaps"), ("PUT", CONFIG_MAPS), ("POST", f"{CONFIG_MAPS}/c1"),
            ("DELETE", "/api/v1/namespaces"), ("GET", "/api/v1/namespaces/default/pods/p/binding"), 
            ("OPTIONS", CONFIG_MAPS), ("POST", "/apis"),
        ],
    )  # fmt: skip
    async def test_methods_that_are_not_allowed(self, client: HttpClient, method: str, path: str) -> None:
        answer = await client.request(method, path)
        assert (answer.status, answer.json["message"]) == (405, "the server does not allow this method on the requested resource")

    async def test_unknown_paths(self, client: HttpClient) -> None:
        answer = await client.get("/api/v1/nopes")
        assert (answer.status, answer.json["message"]) == (404, "the server could not find the requested resource")
        assert answer.json["details"] == {}
        answer = await client.get("/apis/nope.io/v1/x")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (404, b"404 page not found\n", "text/plain; charset=utf-8")

    async def test_an_unforeseen_error_is_a_status(self, client: HttpClient, api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
        api.entries = None  # type: ignore[assignment]
        answer = await client.get(CONFIG_MAPS)
        assert (answer.status, answer.json["reason"]) == (500, "InternalError")
        assert "a request failed" in caplog.text

    async def test_broken_http_does_not_hurt_others(self, server: RestServer, certificates: Certificates, client: HttpClient) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=certificates.client)
        writer.write(b"\x00\x01 nonsense\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.transport.abort()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
        assert (await client.get(CONFIG_MAPS)).status == 200
