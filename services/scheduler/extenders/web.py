"""The way to extenders: JSON is posted, and what they answer comes back."""

from __future__ import annotations

from typing import Any, Protocol

from knarr.service.late import loaded
from services.scheduler.extender import Extender


class Web(Protocol):
    """How extenders are reached."""

    async def post(self, extender: Extender, verb: str, body: Any) -> Any:
        """What an extender answers to a verb, decoded. Raises ExtenderFailed."""

    async def close(self) -> None: ...


class LateWeb:
    """By HTTP; most schedulers have no extender and never load what that takes."""

    def __init__(self) -> None:
        self._web: Web | None = None

    async def post(self, extender: Extender, verb: str, body: Any) -> Any:
        module = await loaded("services.scheduler.extenders.http_web")
        if self._web is None:
            self._web = module.HttpWeb()
        return await self._web.post(extender, verb, body)

    async def close(self) -> None:
        if self._web is not None:
            await self._web.close()
