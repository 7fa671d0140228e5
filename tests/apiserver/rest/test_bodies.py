"""The forms of bodies, both ways: JSON, YAML and protobuf, compressed, indented, and what is refused."""

from __future__ import annotations

import gzip
import zlib

import orjson
import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.envelope import unwrap, wrap
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.schema import descriptor_of
from services.apiserver.apply import configuration
from services.apiserver.pipeline import patching
from services.apiserver.rest import request
from services.apiserver.rest.finish import GZIP_BYTES, PRETTY_BYTES
from services.apiserver.rest.negotiation import PROTOBUF, YAML
from services.apiserver.rest.objects import YAML_BYTES, to_yaml
from services.apiserver.results import Event
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
AS_TABLE = "as=Table;v=v1;g=meta.k8s.io"
AS_METADATA = "as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
AS_METADATA_LIST = "as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def config_map(name: str = "a", value: str = "b") -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default"), data={"k": value})


class TestWhatIsNoCharacter:
    @pytest.mark.parametrize("value", [rb"\ud800", b"\xff"])
    async def test_is_replaced_whichever_way_it_comes(self, client: HttpClient, value: bytes) -> None:
        body = b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}, "data": {"k": "%b"}}' % value
        created = await client.request("POST", CONFIG_MAPS, body, content_type="application/json")
        assert (created.status, created.json["data"]) == (201, {"k": "\ufffd"})
        assert patching.parse("merge", b'{"data": {"k": "%b"}}' % value).body == {"data": {"k": "\ufffd"}}
        applied = configuration.parse(body, ("v1", "ConfigMap"), shape_of(descriptor_of(core.ConfigMap)), "Strict")
        assert applied.value["data"] == {"k": "\ufffd"}


class TestCompression:
    async def test_a_gzipped_body_is_unpacked(self, client: HttpClient, api: FakeApi) -> None:
        for body, content_type in (
            (codec.to_json(config_map()), "application/json"),
            (b"metadata: {name: a, namespace: default}\ndata: {k: b}\n", "application/yaml"),
            (wrap("v1", "ConfigMap", config_map().SerializeToString()), PROTOBUF),
        ):
            answer = await client.request("POST", CONFIG_MAPS, gzip.compress(body), content_type=content_type, content_encoding="gzip")
            assert (answer.status, answer.json["data"]) == (201, {"k": "b"})

    async def test_a_bomb_is_not_unpacked(self, client: HttpClient) -> None:
        bomb = gzip.compress(b" " * (request.BODY_LIMIT_BYTES + 1))
        assert len(bomb) < 8192
        answer = await client.request("POST", CONFIG_MAPS, bomb, content_encoding="gzip")
        assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")

    @pytest.mark.parametrize(
        "body", [b"no gzip", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"x", b""], ids=["else", "cut", "followed", "empty"]
    )
    async def test_what_is_not_what_its_header_says(self, client: HttpClient, body: bytes) -> None:
        answer = await client.request("POST", CONFIG_MAPS, body, content_encoding="gzip")
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest")

    async def test_other_encodings_are_refused(self, client: HttpClient) -> None:
        answer = await client.request("POST", CONFIG_MAPS, zlib.compress(b"{}"), content_encoding="deflate")
        assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")

    async def test_a_large_answer_is_compressed_for_who_asks(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map(value="x" * GZIP_BYTES))
        plain = await client.get(f"{CONFIG_MAPS}/a")
        assert "content-encoding" not in plain.headers
        packed = await client.get(f"{CONFIG_MAPS}/a", accept_encoding="deflate, gzip;q=0.5")
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert gzip.decompress(packed.body) == plain.body
        assert "content-encoding" not in (await client.get(f"{CONFIG_MAPS}/a", accept_encoding="gzip;q=0")).headers
        assert "content-encoding" not in (await client.get("/version", accept_encoding="gzip")).headers


class TestPretty:
    @pytest.mark.parametrize(
        ("query", "agent", "indents"),
        [
            ("", "", False), ("?pretty=true", "", True), ("?pretty=1", "kubectl", True), ("?pretty=false", "curl/8", False),
            ("?pretty=x", "curl/8", False),
            ("?pretty", "", False), ("", "curl/8", True), ("", "Wget/1", True), ("", "Mozilla/5.0 (X11)", True),
        ],
    )  # fmt: skip
    async def test_for_people(self, client: HttpClient, api: FakeApi, query: str, agent: str, indents: bool) -> None:
        api.put(config_map())
        for path in (f"{CONFIG_MAPS}/a", f"{CONFIG_MAPS}/nope", "/apis", "/version"):
            body = (await client.get(path + query, user_agent=agent)).body
            assert (b'{\n  "' in body) is indents, path

    async def test_not_what_is_no_json_or_large(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map(value="x" * PRETTY_BYTES))
        assert b"\n  " not in (await client.get(f"{CONFIG_MAPS}/a?pretty=true")).body
        assert (await client.get("/readyz?pretty=true")).body == b"ok"
        whole = await client.get("/openapi/v3/api?pretty=true")
        assert b"\n  " not in whole.body

    async def test_a_query_that_is_refused(self, client: HttpClient) -> None:
        answer = await client.get(f"{CONFIG_MAPS}?pretty=true" + "&a" * 4096)
        assert answer.status == 400


class TestForms:
    @pytest.mark.parametrize("form", [AS_TABLE, AS_METADATA])
    async def test_one_object_as_yaml(self, client: HttpClient, api: FakeApi, form: str) -> None:
        api.put(config_map())
        found = (await client.get(f"{CONFIG_MAPS}/a", accept=f"application/json;{form}")).json
        answer = await client.get(f"{CONFIG_MAPS}/a", accept=f"{YAML};{form}")
        assert (answer.headers["content-type"], yaml.safe_load(answer.body)) == (YAML, found)

    @pytest.mark.parametrize("form", [AS_TABLE, AS_METADATA_LIST])
    async def test_a_list_as_yaml(self, client: HttpClient, api: FakeApi, form: str) -> None:
        api.put(config_map())
        found = (await client.get(CONFIG_MAPS, accept=f"application/json;{form}")).json
        answer = await client.get(CONFIG_MAPS, accept=f"{YAML};{form}")
        assert (answer.headers["content-type"], yaml.safe_load(answer.body)) == (YAML, found)

    async def test_metadata_as_protobuf(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map())
        one = unwrap((await client.get(f"{CONFIG_MAPS}/a", accept=f"{PROTOBUF};{AS_METADATA}")).body)
        assert (one.type_meta.kind, one.type_meta.api_version) == ("PartialObjectMetadata", "meta.k8s.io/v1")
        assert meta.PartialObjectMetadata.FromString(one.raw).metadata.name == "a"
        listed = unwrap((await client.get(CONFIG_MAPS, accept=f"{PROTOBUF};{AS_METADATA_LIST}")).body)
        assert [item.metadata.name for item in meta.PartialObjectMetadataList.FromString(listed.raw).items] == ["a"]

    async def test_metadata_of_what_it_is_not(self, client: HttpClient, api: FakeApi) -> None:
        api.put(config_map())
        answer = await client.get(CONFIG_MAPS, accept=f"application/json;{AS_METADATA}")
        assert (answer.status, answer.json["message"]) == (
            406, "you requested PartialObjectMetadata, but the requested object is a list (ConfigMapList)",
        )  # fmt: skip
        answer = await client.get(f"{CONFIG_MAPS}/a", accept=f"application/json;{AS_METADATA_LIST}")
        assert (answer.status, answer.json["message"]) == (
            406, "you requested PartialObjectMetadataList, but the requested object is not a list (ConfigMap)",
        )  # fmt: skip

    async def test_a_table_has_no_protobuf_form(self, client: HttpClient) -> None:
        answer = await client.get(CONFIG_MAPS, accept=f"{PROTOBUF};{AS_TABLE}")
        assert (answer.status, answer.json["reason"]) == (406, "NotAcceptable")
        assert (await client.get(CONFIG_MAPS, accept=f"{PROTOBUF};{AS_TABLE},application/json")).json["kind"] == "ConfigMapList"

    async def test_a_table_of_something_else(self, client: HttpClient) -> None:
        answer = await client.get(f"{CONFIG_MAPS}?includeObject=x", accept=f"application/json;{AS_TABLE}")
        words = "must be 'Metadata', 'Object', 'None', or empty"
        assert answer.json["message"] == f'Unable to convert to Table as requested: includeObject: Invalid value: "x": {words}'

    async def test_the_answer_to_a_delete_is_a_status_whatever_the_form(self, client: HttpClient, api: FakeApi) -> None:
        for form in (AS_TABLE, AS_METADATA):
            for media_type in ("application/json", YAML):
                api.put(config_map())
                answer = await client.request("DELETE", f"{CONFIG_MAPS}/a", accept=f"{media_type};{form}")
                assert (answer.status, yaml.safe_load(answer.body)["kind"], answer.headers["content-type"]) == (200, "Status", media_type)

    async def test_a_bookmark_in_a_watch_of_tables(self, client: HttpClient, api: FakeApi) -> None:
        api.batches.put_nowait([Event("BOOKMARK", 12, initial_events_end=True)])
        await client.send("GET", f"{CONFIG_MAPS}?watch=true", accept=f"application/json;{AS_TABLE}")
        assert (await client.head()).status == 200
        table = orjson.loads(await client.chunk())["object"]
        assert (len(table["columnDefinitions"]), table["rows"][0]["cells"], table["metadata"]) == (
            3,
            ["", "", ""],
            {"resourceVersion": "12"},
        )
        metadata = table["rows"][0]["object"]["metadata"]
        assert (metadata["resourceVersion"], metadata["annotations"]) == ("12", {"k8s.io/initial-events-end": "true"})

    async def test_a_watch_has_no_yaml_form(self, client: HttpClient) -> None:
        answer = await client.get(f"{CONFIG_MAPS}?watch=true", accept=YAML)
        message = (
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        )
        assert (answer.status, yaml.safe_load(answer.body)["message"]) == (406, message)

    def test_what_is_much_stays_json_which_is_yaml(self) -> None:
        text = orjson.dumps({"a": "x" * YAML_BYTES})
        assert to_yaml(text) is text
        assert to_yaml(b'{"b":[1,"on"],"a":"\xc3\xa4"}') == "a: ä\nb:\n- 1\n- 'on'\n".encode()


class TestErrors:
    async def test_in_the_form_that_was_asked_for(self, client: HttpClient) -> None:
        path = f"{CONFIG_MAPS}/nope"
        found = (await client.get(path)).json
        as_yaml = await client.get(path, accept=YAML)
        assert (as_yaml.status, as_yaml.headers["content-type"], yaml.safe_load(as_yaml.body)) == (404, YAML, found)
        as_protobuf = await client.get(path, accept=f"{PROTOBUF},application/json")
        held = unwrap(as_protobuf.body)
        assert (as_protobuf.status, as_protobuf.headers["content-type"], held.type_meta.kind) == (404, PROTOBUF, "Status")
        assert meta.Status.FromString(held.raw).message == found["message"]

    async def test_in_json_for_who_takes_nothing_that_there_is(self, client: HttpClient) -> None:
        for accept in ("application/cbor", "text/html"):
            answer = await client.get(f"{CONFIG_MAPS}/nope", accept=accept)
            assert (answer.status, answer.json["reason"]) == (406, "NotAcceptable")

    async def test_cbor_is_not_served(self, client: HttpClient) -> None:
        answer = await client.request("POST", CONFIG_MAPS, b"\xa0", content_type="application/cbor")
        assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")
        assert (await client.get(CONFIG_MAPS, accept="application/cbor,application/json;q=0.9")).json["kind"] == "ConfigMapList"
        answer = await client.request("PATCH", f"{CONFIG_MAPS}/a", b"\xa0", content_type="application/apply-patch+cbor")
        assert answer.status == 415
        answer = await client.get(f"{CONFIG_MAPS}?watch=1", accept="application/cbor-seq")
        assert answer.status == 406
