"""``/debug/api_priority_and_fairness/dump_…``: who waits, where, and for what."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.machinery.errors import StatusError
from services.apiserver.fairness.dump import DETAILS, dump_levels, dump_queues, dump_requests
from services.apiserver.fairness.fairness import Fairness
from services.apiserver.request import Request as Asked
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response, text
from services.apiserver.rest.verbs import verb_of
from services.apiserver.results import Ref

FOLDER = "/debug/api_priority_and_fairness/"


class Dumps:
    """What fairness can tell, as text."""

    def __init__(self, fairness: Fairness) -> None:
        self._fairness = fairness

    def answer(self, path: str, request: Request) -> Response | None:
        """None for a path that is none of these."""
        levels = self._fairness.flows.levels
        match path.removeprefix(FOLDER):
            case "dump_priority_levels":
                return text(dump_levels(levels))
            case "dump_queues":
                return text(dump_queues(levels))
            case "dump_requests":
                return text(dump_requests(levels, self._details if request.query.text("includeRequestDetails") else None))
        return None

    def _details(self, about: object) -> Sequence[str]:
        """In the order of ``DETAILS``."""
        if isinstance(about, Asked):
            # By gRPC, where there are no paths.
            return self._of_resource(about.user.name, about.verb, "", about.ref)
        if not isinstance(about, Request):
            return [""] * len(DETAILS)
        if about.target is None:
            return (about.user.name, about.method.lower(), about.path, *[""] * 5)
        try:
            verb = verb_of(about, about.target)
        except StatusError:
            verb = about.method.lower()
        return self._of_resource(about.user.name, verb, about.path, about.target.ref)

    def _of_resource(self, user: str, verb: str, path: str, ref: Ref) -> Sequence[str]:
        return user, verb, path, ref.namespace, ref.name, ref.version.api_version, ref.resource.plural, ref.subresource
