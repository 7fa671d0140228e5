"""GET of an object and of a collection."""

from __future__ import annotations

from services.apiserver.api import Api
from services.apiserver.request import GET, LIST
from services.apiserver.rest.query import get_options, list_options
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.representations import Representations, written
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response
from services.apiserver.rest.routing import Target


class Reads:
    """Reads for one request each; stateless."""

    def __init__(self, api: Api, representations: Representations) -> None:
        self._api = api
        self._representations = representations

    async def get(self, request: Request, target: Target) -> Response:
        wanted, query = request.wanted, request.query
        representation = self._representations.choose(target.version, wanted, query)
        result = await self._api.get(request_of(request, target, GET, get_options(query)))
        body, content_type = written(representation, result, wanted.media_type)
        return Response(body, content_type=content_type)

    async def list(self, request: Request, target: Target) -> Response:
        query = request.query
        representation = self._representations.choose(target.version, request.wanted, query)
        page = await self._api.list(request_of(request, target, LIST, list_options(query)))
        return Response(representation.page(page), content_type=representation.content_type)
