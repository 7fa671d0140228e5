"""GET of an object and of a collection."""

from __future__ import annotations

from services.apiserver.api import Api
from services.apiserver.aside import LARGE_BYTES, aside
from services.apiserver.request import GET, LIST
from services.apiserver.rest.objects import Representation
from services.apiserver.rest.pieces import in_pieces, weight
from services.apiserver.rest.query import get_options, list_options
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.representations import Representations, written
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Pieces, Response
from services.apiserver.rest.routing import Target
from services.apiserver.results import Page

# A list of more, as it is stored, leaves in pieces: so much is put together, and given to a connection, in a millisecond or two.
WHOLE_OBJECTS, WHOLE_BYTES = 4096, 4 * 1024 * 1024
# What is not written yet of a list is made aside where it is more.
MADE_AT_ONCE_BYTES = 256 * 1024


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

    async def list(self, request: Request, target: Target) -> Response | Pieces:
        query = request.query
        representation = self._representations.choose(target.version, request.wanted, query, listed=True)
        page = await self._api.list(request_of(request, target, LIST, list_options(query)))
        if representation.is_written(page):
            return _listed(representation, page, representation.parts(page))
        entries = page.entries
        size_bytes = weight(entries) if len(entries) <= WHOLE_OBJECTS else WHOLE_BYTES + 1
        if size_bytes > WHOLE_BYTES:
            return await in_pieces(request, representation, page)
        if size_bytes <= MADE_AT_ONCE_BYTES or all(map(representation.has_ready, entries.blocks)):
            return _listed(representation, page, representation.parts(page))
        return _listed(representation, page, await aside(LARGE_BYTES + 1, representation.parts, page))


def _listed(representation: Representation, page: Page, parts: tuple[bytes, bytes]) -> Response:
    before, body = parts
    items = page.entries if body is page.entries.joined else None
    return Response(body, content_type=representation.content_type, before=before, items=items)
