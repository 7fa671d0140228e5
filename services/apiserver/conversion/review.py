"""ConversionReview: what a webhook is asked, and what of its answer becomes objects. Pure.

A webhook is a stranger: it must answer just what it was asked about, in the version that it was asked for. Of the metadata it may change
labels and annotations; the rest is what it was, whatever it says. The words are Kubernetes'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import budget, codec
from knarr.machinery.custom.form import CustomForm
from knarr.machinery.custom.objects import content_of
from knarr.machinery.errors import StatusError, status_error
from knarr.machinery.resources import Version
from services.apiserver.strategies.metadata import validate_annotations, validate_labels
from services.apiserver.strategies.paths import METADATA

Json = dict[str, Any]

GROUP, V1, V1BETA1 = "apiextensions.k8s.io", "v1", "v1beta1"
SHOWN_LETTERS = 512


class Refused(Exception):
    """The answer is none; the words follow ``conversion webhook for <kind> ``."""


@dataclass(frozen=True, slots=True)
class Review:
    """About objects of one version, as the bytes that are kept of them; ``review_version`` is that of the ConversionReview."""

    uid: str
    review_version: str
    source: Version
    target: Version
    raws: Sequence[bytes]
    # The objects as they are sent, read again: what the answer is held against.
    _sent: list[Json] = field(default_factory=list)

    def body(self) -> bytes:
        """What is posted. What was kept under another schema is sent as it is under the present one."""
        form = _form(self.source)
        raws = [form.completed(raw) for raw in self.raws]
        self._sent[:] = [orjson.loads(raw) for raw in raws]
        head = {"kind": "ConversionReview", "apiVersion": f"{GROUP}/{self.review_version}"}
        request = orjson.dumps({"uid": self.uid, "desiredAPIVersion": self.target.api_version})
        return b"".join((orjson.dumps(head)[:-1], b',"request":', request[:-1], b',"objects":[', b",".join(raws), b"]}}"))

    def converted(self, answer: bytes) -> list[bytes]:
        """The objects of the target version, as their bytes are kept. Raises StatusError."""
        try:
            found = _objects(answer, self)
            if len(found) != len(self._sent):
                raise Refused(f"returned {len(found)} objects, expected {len(self._sent)}")
            return [self._object(index, before, after) for index, (before, after) in enumerate(zip(self._sent, found, strict=True))]
        except Refused as refused:
            raise failure(self.source, str(refused)) from None

    def _object(self, index: int, before: Json, after: Any) -> bytes:
        head = f"returned invalid converted object at index {index}: " if len(self._sent) > 1 else "returned invalid object: "
        if not isinstance(after, dict):
            raise Refused(f"{head}it is no JSON object")
        try:
            budget.check(after)
        except StatusError as error:
            raise Refused(head + error.status.message) from None
        api_version, kind = self.target.names
        if after.get("apiVersion") != api_version:
            raise Refused(f"{head}invalid groupVersion (expected {api_version}, received {_shown(after.get('apiVersion') or '')})")
        if after.get("kind") != kind:
            raise Refused(f"{head}invalid kind (expected {kind}, received {_shown(after.get('kind') or '')})")
        kept, given = before.get("metadata") or {}, after.get("metadata")
        at = f" in object at index {index}" if len(self._sent) > 1 else ""
        if not isinstance(given, dict):
            problem = "missing metadata in converted object" if given is None else "metadata of the converted object is no JSON object"
            raise Refused(f"returned invalid metadata{at}: {problem}")
        for name, words in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
            if (given.get(name) or "") != (kept.get(name) or ""):
                raise Refused(f"{head}must have the same {words}: {_shown(kept.get(name) or '')} != {_shown(given.get(name) or '')}")
        try:
            metadata = _metadata(kept, given)
        except Refused as refused:
            raise Refused(f"returned invalid metadata{at}: {refused}") from None
        content = content_of(after)
        schema = _form(self.target).schema
        if schema is not None:
            schema.prune(content)
        obj: Any = self.target.message(metadata, content)
        raw: bytes = obj.SerializeToString()
        return raw


def review_version(accepted: Sequence[str]) -> str:
    """The first of those that a webhook accepts which is known here; raises StatusError when none is."""
    found = next((version for version in accepted if version in (V1, V1BETA1)), None)
    if found is None:
        raise status_error("", "no supported conversion review versions", code=500)
    return found


def failure(source: Version, words: str) -> StatusError:
    """As in Kubernetes the caller is told no reason but the words, and 500."""
    return status_error("", f"conversion webhook for {source.api_version}, Kind={source.kind} {words}", code=500)


def _objects(answer: bytes, review: Review) -> list[Any]:
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise Refused(f"failed: couldn't get version/kind; json parse error: {_shown(error)}") from None
    if not isinstance(found, dict):
        raise Refused("failed: the answer is no JSON object")
    response = found.get("response")
    if review.review_version == V1:
        names = _shown(found.get("apiVersion") or ""), _shown(found.get("kind") or "")
        if names != (f"{GROUP}/{V1}", "ConversionReview"):
            wanted = f"{GROUP}/{V1}, Kind=ConversionReview"
            raise Refused(f"failed: expected webhook response of {wanted}, got {names[0]}, Kind={names[1]}")
    if not isinstance(response, dict):
        raise Refused("failed: no response provided")
    # v1beta1 did not have it looked at.
    if review.review_version == V1 and response.get("uid") != review.uid:
        raise Refused(f'failed: expected response.uid="{review.uid}", got "{_shown(response.get("uid") or "")}"')
    result = response.get("result")
    result = result if isinstance(result, dict) else {}
    if result.get("status") != "Success":
        words = result.get("message") or f"response.result.status was '{_shown(result.get('status') or '')}', not 'Success'"
        raise Refused(f"failed: {_shown(words)}")
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _metadata(kept: Json, given: Json) -> meta.ObjectMeta:
    """What was kept, with the labels and annotations that are given."""
    found = codec.from_json(meta.ObjectMeta, kept).message
    for name, validate in (("labels", validate_labels), ("annotations", validate_annotations)):
        value = given.get(name)
        if value is not None and not isinstance(value, dict):
            raise Refused(f"metadata.{name} of the converted object is no JSON object")
        texts = value or {}
        for key, text in texts.items():
            if not isinstance(text, str):
                raise Refused(f"metadata.{name}[{_shown(key)}] must be a string, but is no string in the converted object")
        if texts != (kept.get(name) or {}):
            if causes := validate(texts, METADATA.child(name)):
                raise Refused(", ".join(f"{cause.field}: {cause.message}" for cause in causes[:8]))
            target = getattr(found, name)
            target.clear()
            target.update(texts)
    return found


def _form(version: Version) -> CustomForm:
    form: CustomForm = version.form  # type: ignore[assignment]
    return form


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_LETTERS else text[:SHOWN_LETTERS] + "…"
