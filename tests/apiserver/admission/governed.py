"""An API server in memory with admission policies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from services.apiserver.authorization import Authorizer
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.results import Written
from tests.apiserver.admission.reviewed import ref
from tests.support.caller import Caller

Json = dict[str, Any]
VERSION = "admissionregistration.k8s.io/v1"
CONFIG_MAPS = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}
MESSAGES: dict[str, type[Message]] = {
    name: getattr(admission, name)
    for name in (
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    )
}


@dataclass
class Governed:
    api: ApiInMemory
    caller: Caller

    async def make(self, kind: str, name: str, spec: Json) -> Any:
        value = {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        message = MESSAGES[kind]
        obj = codec.from_json(message, value).message
        return (await self.caller.create(ref(message), obj, meta.CreateOptions())).message

    async def validate(self, *validations: Mapping[str, Any] | str, name: str = "p", binding: Json | None = None, **spec: Any) -> None:
        """A policy about ConfigMaps, and its binding; a text is the expression of a validation."""
        said = [{"expression": one} if isinstance(one, str) else one for one in validations]
        found = {"matchConstraints": {"resourceRules": [CONFIG_MAPS]}, "validations": said, **spec}
        await self.make("ValidatingAdmissionPolicy", name, found)
        bound = {"policyName": name, "validationActions": ["Deny"], **(binding or {})}
        await self.make("ValidatingAdmissionPolicyBinding", f"{name}-b", bound)

    async def mutate(self, *mutations: Mapping[str, Any] | str, name: str = "p", binding: Json | None = None, **spec: Any) -> None:
        """The same that mutates; a text is the expression of what is applied, one that begins with a bracket that of a JSON patch."""
        said = [_mutation(one) if isinstance(one, str) else one for one in mutations]
        found = {"matchConstraints": {"resourceRules": [CONFIG_MAPS]}, "mutations": said, "reinvocationPolicy": "Never", **spec}
        await self.make("MutatingAdmissionPolicy", name, found)
        await self.make("MutatingAdmissionPolicyBinding", f"{name}-b", {"policyName": name, **(binding or {})})

    async def create(self, obj: Any, namespace: str = "default") -> Any:
        return (await self.written(obj, namespace)).message

    async def written(self, obj: Any, namespace: str = "default") -> Written:
        return await self.caller.create(ref(type(obj), namespace=namespace), obj, meta.CreateOptions())


def _mutation(expression: str) -> Json:
    if expression.startswith("["):
        return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


@asynccontextmanager
async def governed(authorizer: Authorizer | None = None) -> AsyncIterator[Governed]:
    async with ApiInMemory(authorizer=authorizer) as api:
        yield Governed(api, Caller(api.server.api))
