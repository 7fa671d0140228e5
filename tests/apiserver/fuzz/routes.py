"""Requests for every route, made by schemathesis from the server's own OpenAPI documents, and what they are answered.

Of a server's answers only this is judged: that none says the server failed. What a document leaves open, a request would mostly fill with
names of nothing and letters of no alphabet; so names are narrowed to what may be there, and objects to the fields that they have.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from knarr.machinery.openapi.names import META
from tests.apiserver.rest.live import TOKEN, LiveServer

Json = dict[str, Any]

TIMEOUT_SECONDS = 30.0
NAMES = {"namespace": ["default", "kube-system", "A_b"], "name": ["a", "default", "kubernetes", "A_b", "x" * 300], "path": ["", "a/b"]}
CHOICES = {
    "dryRun": ["All", "Some"], "fieldValidation": ["Strict", "Warn", "Ignore", "x"], "fieldManager": ["me", "x" * 200],
    "propagationPolicy": ["Orphan", "Background", "Foreground", "x"], "pretty": ["true", "false", ""],
    "labelSelector": ["a=b", "a in (b,c),!d", "a=="], "fieldSelector": ["metadata.name=a", "spec.nodeName=", "a=b", "=,"],
    "resourceVersion": ["0", "1", "999999999", "x"], "resourceVersionMatch": ["Exact", "NotOlderThan", "x"], "continue": ["", "abc", "e30"],
}  # fmt: skip
FORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
MEDIA_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
ACCEPTED = ("", *MEDIA_TYPES, *(f"{media};as={form};v=v1;g=meta.k8s.io" for media in MEDIA_TYPES for form in FORMS))
# What of an object's metadata is random only where it may be.
METADATA = {
    "name": {"enum": ["a", "b"]}, "namespace": {"enum": ["default", ""]}, "labels": {"enum": [{"a": "b"}, {}, {"": "x"}]},
    "resourceVersion": {"enum": ["", "1"]}, "uid": {"enum": ["", "u"]}, "generateName": {"enum": ["", "g-"]},
}  # fmt: skip
OPERATION = {
    "type": "object", "required": ["op", "path"],
    "properties": {
        "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
        "path": {"enum": ["", "/metadata/labels", "/metadata/labels/a", "/spec", "/spec/containers/0", "/data/-", "x"]},
        "from": {"enum": ["/metadata", "/spec", ""]},
    },
}  # fmt: skip
PATCH = {
    "oneOf": [
        {"type": "array", "items": OPERATION},
        {
            "type": "object",
            "properties": {
                "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}},
                "$patch": {"enum": ["replace", "merge", "x"]},
            },
        },
    ]
}


def prepared(document: Json) -> Json:
    """A document with its names and objects narrowed."""
    schemas = document["components"]["schemas"]
    schemas.get(f"{META}.ObjectMeta", {}).get("properties", {}).update(METADATA)
    if f"{META}.Patch" in schemas:
        schemas[f"{META}.Patch"] = PATCH
    for schema in document["components"]["schemas"].values():
        if schema.get("properties"):
            schema["additionalProperties"] = False
    for item in document["paths"].values():
        operations = [operation for method, operation in item.items() if method != "parameters"]
        for parameter in [*item.get("parameters", ()), *(one for operation in operations for one in operation.get("parameters", ()))]:
            known = (NAMES if parameter["in"] == "path" else CHOICES).get(parameter["name"])
            if known:
                parameter["schema"]["enum"] = known
        for operation in operations:
            content = operation.get("requestBody", {}).get("content", {})
            if "*/*" in content:
                content["application/json"] = content["application/yaml"] = content.pop("*/*")
    return document


class Fuzzer:
    """Sends what is generated; ``failures`` are the requests that the server failed at, with its words."""

    def __init__(self, server: LiveServer) -> None:
        self._address = urlsplit(server.url)
        self._context = ssl.create_default_context(cafile=str(server.ca))
        self._connection: http.client.HTTPSConnection | None = None
        self.failures: list[str] = []
        self.codes: dict[int, int] = {}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str) -> Json:
        found: Json = json.loads(self._ask("GET", path, None, {})[1])
        return found

    def documents(self) -> Iterator[Json]:
        for entry in self.get("/openapi/v3")["paths"].values():
            yield self.get(entry["serverRelativeURL"])

    def try_each(self, document: Json, seed_number: int, examples: int, part: float = 1.0) -> int:
        """Sends examples of the document's operations, or of a part of them; answers how many requests were sent."""
        chosen, sent = random.Random(seed_number), 0
        for found in schemathesis.openapi.from_dict(prepared(document)).get_all_operations():
            if chosen.random() < part:
                sent += self._try(cast(Any, found).ok(), seed_number, examples)
        return sent

    def _try(self, operation: Any, seed_number: int, examples: int) -> int:
        sent = 0
        forms = random.Random(seed_number)

        @seed(seed_number)
        @settings(
            max_examples=examples, database=None, deadline=None, phases=[Phase.generate], verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy())
        def send(case: Any) -> None:
            nonlocal sent
            sent += 1
            self._send(case, forms.choice(ACCEPTED))

        send()
        return sent

    def _send(self, case: Any, accept: str) -> None:
        query = urlencode(case.query or {}, doseq=True)
        path = case.formatted_path + ("?" + query if query else "")
        self.send(case.method, path, body_of(case), case.media_type or "", accept)

    def send(self, method: str, path: str, body: bytes | None, content_type: str, accept: str = "") -> tuple[int, bytes]:
        """Sends a request and judges the answer."""
        headers = {"accept": accept} if accept else {}
        if body is not None:
            headers["content-type"] = content_type
        code, answer = self._ask(method, path, body, headers)
        self.codes[code] = self.codes.get(code, 0) + 1
        if code >= 500 and code not in (503, 504):
            self.failures.append(f"{code} {method} {path} ({accept}) {body!r}\n    {answer.decode(errors='replace')[:600]}")
        return code, answer

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._address.hostname or "", self._address.port, timeout=TIMEOUT_SECONDS, context=self._context
            )
        self._connection.request(method, path, body, {"authorization": f"Bearer {TOKEN}", **headers})
        answer = self._connection.getresponse()
        if answer.getheader("transfer-encoding") == "chunked":
            # A watch goes on; that it began is enough.
            self.close()
            return answer.status, b""
        read = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, read


def body_of(case: Any) -> bytes | None:
    """The body that goes with a case's media type; None for a request without one."""
    if type(case.body).__name__ == "NotSet":
        return None
    if isinstance(case.body, bytes):
        return case.body
    if "yaml" in case.media_type:
        return yaml.safe_dump(case.body, allow_unicode=True).encode(errors="replace")
    return json.dumps(case.body).encode()
