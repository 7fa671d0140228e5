"""What of an object is not done, as reasons and words, from what it was compiled to and what is in force."""

from __future__ import annotations

from collections.abc import Iterator

from services.gateway.executor import Executor
from services.gateway.keyring import Keyring
from services.gateway.routing.table import Origin, Route, scope_of
from services.gateway.services import Services
from services.gateway.sources.compiled import Compiled


class Problems:
    def __init__(self, executor: Executor, services: Services, keyring: Keyring) -> None:
        self._executor, self._services, self._keyring = executor, services, keyring

    def of(self, origin: Origin, compiled: Compiled) -> list[tuple[str, str]]:
        """Each once, in the order in which they concern it."""
        return list(dict.fromkeys(self._of(origin, compiled)))

    def _of(self, origin: Origin, compiled: Compiled) -> Iterator[tuple[str, str]]:
        program = self._executor.program
        for words in compiled.problems:
            yield "NotHonoured", words
        if origin in program.refused:
            yield "Rejected", f"none of its routes is in force: {program.refused[origin]}"
        for route, other in program.table.shadowed(origin):
            yield "Conflict", f"{_place(route)} is {other.origin}'s already, which is older"
        for route in program.table.lonely(origin):
            yield "NotHonoured", f"{_place(route)} is a canary, and gets nothing where no other Ingress has the same host and path"
        for target in dict.fromkeys(target for route in program.table.routes(origin) for target in route.action.leads_to):
            if words := self._services.problem_of(target):
                yield "BackendNotFound", f"{words}: it is answered 503"
        for pair in compiled.keypairs:
            if words := self._keyring.problem_of(pair):
                yield "BadCertificate", words
        shared = [words for entry, words in self._executor.closed.items() if not scope_of(entry)]
        for words in (*shared, self._executor.problem):
            if words:
                yield "NotServed", words


def _place(route: Route) -> str:
    """Where in its object it stands, and what it takes."""
    return f"{route.place} ({route.host or 'any host'}{route.match.path or '/'})"
