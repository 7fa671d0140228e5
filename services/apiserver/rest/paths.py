"""Paths that are no resource's: probes, metrics, discovery, OpenAPI, the issuer's keys, the version."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from knarr.machinery.errors import status_error
from knarr.machinery.resources import Registry
from services.apiserver.aggregation.keeper import Aggregation
from services.apiserver.api import Api
from services.apiserver.rest.discovery import Discovery
from services.apiserver.rest.dumps import FOLDER as DUMPS
from services.apiserver.rest.dumps import Dumps
from services.apiserver.rest.errors import method_not_allowed, no_such_resource
from services.apiserver.rest.extensions import Extensions
from services.apiserver.rest.health import Checks, health
from services.apiserver.rest.issuer import Issuer
from services.apiserver.rest.metrics import metrics_response
from services.apiserver.rest.openapi import OpenApi
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Relay, Response, Upgrade, text
from services.apiserver.rest.version import version_response

# The check that says whether all that is stored is known.
LOADED = "cache"
_PROBES = ("healthz", "livez", "readyz")
_PROBE_PATHS = tuple(f"/{probe}" for probe in _PROBES)


class Paths:
    """``knows_group_version`` says whether a path is that of a version, or below one."""

    def __init__(
        self,
        api: Api,
        registry: Registry,
        checks: Checks,
        aggregation: Aggregation | None,
        extensions: Extensions | None,
        knows_group_version: Callable[[str], bool],
    ) -> None:
        self._api, self._registry, self._aggregation, self._extensions = api, registry, aggregation, extensions
        self._knows_group_version = knows_group_version
        self.checks = {"ping": lambda: True, **checks}
        self._dumps = Dumps(api.fairness) if api.fairness is not None else None
        self._openapi = OpenApi(registry, aggregation)
        self._issuer = Issuer(api.accounts)
        self.derive()

    def derive(self) -> None:
        """Makes anew what follows from what is served."""
        self._discovery = Discovery(self._registry, self._aggregation.extensions if self._aggregation is not None else ())

    def open(self, request: Request) -> Response | None:
        """What is for everybody: probes and the version; None for all else."""
        if request.path.rstrip("/") == "/version":
            if request.method not in ("GET", "HEAD"):
                raise method_not_allowed()
            return version_response()
        return self._probe(request) if request.path.startswith(_PROBE_PATHS) and request.path.split("/", 2)[1] in _PROBES else None

    async def answer(self, request: Request) -> Response | Upgrade | Relay:
        """With or without a slash at the end of the path. Raises Forbidden, MethodNotAllowed, NotFound, or ServiceUnavailable while it may
        be that of a custom resource that is not known yet."""
        if (found := self.open(request)) is not None:
            return found
        path = request.path.rstrip("/") or "/"
        await self._api.visit(request.user, "get" if request.method == "HEAD" else request.method, path, request.audit)
        if path == "/metrics":
            return metrics_response()
        if self._dumps is not None and path.startswith(DUMPS) and (found := self._dumps.answer(path, request)) is not None:
            return found
        if path.startswith("/openapi") and self._extensions is not None and (there := self._openapi.elsewhere(path)) is not None:
            return await self._extensions.answer(request, there, path)
        found = await self._document(path, request)
        if found is None:
            return self._unknown(path)
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        return found

    async def _document(self, path: str, request: Request) -> Response | None:
        """What is only read."""
        found = await self._openapi.answer(request) if path.startswith("/openapi") else self._issuer.answer(path)
        if path == "/":
            found = self._index()
        if found is None:
            found = self._discovery.answer(path, request.headers.get(b"accept", b""), request.headers.get(b"if-none-match", b""))
        return found

    def _unknown(self, path: str) -> Response:
        if not self.checks.get(LOADED, lambda: True)():
            # It may be a custom resource, and those are not known yet.
            message = "the API server is still reading etcd; try again in a moment"
            raise status_error("ServiceUnavailable", message, retry_after_seconds=1)
        if self._knows_group_version(path):
            raise no_such_resource()
        return text("404 page not found\n", 404)

    def _index(self) -> Response:
        probes = (f"/{probe}{name}" for probe in _PROBES for name in ("", *(f"/{check}" for check in self._checks_of(probe))))
        paths = {*self._discovery.paths, *self._openapi.paths, *self._issuer.paths, *probes, "/metrics", "/version"}
        return Response(orjson.dumps({"paths": sorted(paths)}))

    def _checks_of(self, probe: str) -> Checks:
        """``/readyz`` asks every check; ``/livez`` and ``/healthz`` only whether requests are answered."""
        return self.checks if probe == "readyz" else {"ping": self.checks["ping"]}

    def _probe(self, request: Request) -> Response:
        probe, _, single = request.path.strip("/").partition("/")
        checks = self._checks_of(probe)
        if single:
            if single not in checks:
                return text("404 page not found\n", 404)
            checks = {single: checks[single]}
        return health(probe, checks, request.query)
