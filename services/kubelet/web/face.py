"""The kubelet's HTTPS: who asks, whether he may, and the page that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from knarr.machinery.errors import REASONS, StatusError, status_error
from knarr.service.access import ReviewedAccess
from knarr.service.web.message import WebAnswer, WebRequest
from services.kubelet.web.callers import Callers
from services.kubelet.web.rights import rights

JSON = "application/json"

# Answers a request; the list has the parts of the path behind the page's name.
Page = Callable[[WebRequest, list[str]], Awaitable[WebAnswer]]


class KubeletFace:
    """``pages`` are by the first part of their path and the method."""

    def __init__(self, node: str, callers: Callers, access: ReviewedAccess, pages: Mapping[str, Mapping[str, Page]]) -> None:
        self._node, self._callers, self._access, self._pages = node, callers, access, pages

    async def __call__(self, request: WebRequest) -> WebAnswer:
        try:
            await self._permit(request)
            return await self._answer(request)
        except StatusError as error:
            code = REASONS.get(error.reason, (500, ""))[0]
            headers = (("WWW-Authenticate", 'Bearer realm="kubelet"'),) if code == 401 else ()
            return WebAnswer(f"{error.status.message}\n".encode(), code, headers=headers)

    async def _permit(self, request: WebRequest) -> None:
        """Raises Unauthorized, Forbidden, ServiceUnavailable."""
        user = await self._callers.user(request)
        needed = rights(request.method, request.path, self._node)
        for right in needed:
            if not await self._access.refusal(user, right):
                return
        names = " ".join(right.subresource for right in needed)
        words = f"Forbidden (user={user.name}, verb={needed[0].verb}, resource=nodes, subresource(s)=[{names}])"
        raise status_error("Forbidden", words)

    async def _answer(self, request: WebRequest) -> WebAnswer:
        first, *rest = request.path.removeprefix("/").split("/")
        by_method = self._pages.get(first)
        if by_method is None:
            raise status_error("NotFound", "404 page not found")
        page = by_method.get("GET" if request.method == "HEAD" else request.method)
        if page is None:
            return WebAnswer(b"405: Method Not Allowed\n", 405, headers=(("Allow", ", ".join(by_method)),))
        return await page(request, rest)


def told(found: Any) -> WebAnswer:
    """As JSON."""
    return WebAnswer(orjson.dumps(found), content_type=JSON)
