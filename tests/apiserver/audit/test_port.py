"""What admission tells the audit log of a request, through the port that is there for it."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.request import Request
from services.apiserver.results import Ref
from tests.support.caller import CALLER

CONFIG_MAPS = version_of(core.ConfigMap)


class Kept:
    def __init__(self) -> None:
        self.annotations: dict[str, str] = {}

    def annotate(self, key: str, value: str) -> None:
        self.annotations.setdefault(key, value)


class Notes:
    name: ClassVar[str] = "Notes"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE

    async def validate(self, attributes: Attributes) -> None:
        attributes.annotate("notes.example/seen", attributes.name)


async def test_a_plugin_annotates_the_request_that_it_sees() -> None:
    kept = Kept()
    request = Request(CALLER, "create", Ref(CONFIG_MAPS, "default"), None, audit=kept)
    await Notes().validate(Attributes(CREATE, request, "one"))
    assert kept.annotations == {"notes.example/seen": "one"}


async def test_where_no_log_is_kept_nothing_happens() -> None:
    request = Request(CALLER, "create", Ref(CONFIG_MAPS, "default"), None)
    await Notes().validate(Attributes(CREATE, request, "one"))
