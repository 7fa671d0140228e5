"""One object that nobody may delete, or change."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from tests.support.api import FaultyClient


def refuse_deletion(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of a pod, as a webhook may, for good."""
    real = FaultyClient.delete

    async def delete(self: FaultyClient, message: type[Any], asked: str, namespace: str = "", **options: Any) -> None:
        if (message, asked) == (core.Pod, name):
            raise status_error("InternalError", "failed calling webhook")
        await real(self, message, asked, namespace, **options)

    monkeypatch.setattr(FaultyClient, "delete", delete)


def refuse_update(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of a node, whatever is to be changed."""
    real = FaultyClient.update

    async def update(self: FaultyClient, obj: Any, **options: Any) -> Any:
        if isinstance(obj, core.Node) and obj.metadata.name == name:
            raise status_error("InternalError", "failed calling webhook")
        return await real(self, obj, **options)

    monkeypatch.setattr(FaultyClient, "update", update)
