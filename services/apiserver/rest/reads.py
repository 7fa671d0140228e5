"""GET of an object and of a collection."""

from __future__ import annotations

from services.apiserver.api import Api
from services.apiserver.aside import LARGE_BYTES, MANY_OBJECTS, aside
from services.apiserver.request import GET, LIST
from services.apiserver.rest.objects import JsonObjects, Representation
from services.apiserver.rest.query import get_options, list_options
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.representations import Representations, written
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response
from services.apiserver.rest.routing import Target
from services.apiserver.results import Page


class Reads:
    """Reads for one request each; stateless."""

    def __init__(self, api: Api, representations: Representations) -> None:
        self._api = api
        self._representations = representations

    async def get(self, request: Request, target: Target) -> Response:
        wanted, query = request.wanted, request.query
        representation = self._representations.choose(target.version, wanted, query)
        result = await self._api.get(request_of(request, target, GET, get_options(query)))
        size = len(result.entry.raw) if result.entry is not None else 0
        body, content_type = await aside(size, written, representation, result, wanted.media_type)
        return Response(body, content_type=content_type)

    async def list(self, request: Request, target: Target) -> Response:
        query = request.query
        representation = self._representations.choose(target.version, request.wanted, query, listed=True)
        page = await self._api.list(request_of(request, target, LIST, list_options(query)))
        return Response(await aside(weight(representation, page), representation.page, page), content_type=representation.content_type)


def weight(representation: Representation, page: Page) -> int:
    """About how much there is to write: more than is done at once when the objects are many, or one is large, and it is not written yet."""
    entries = page.entries
    if page.listing is not None and page.listing.is_written and isinstance(representation, JsonObjects):
        return 0
    return LARGE_BYTES + 1 if len(entries) > MANY_OBJECTS else max((len(entry.raw) for entry in entries), default=0)
