"""Who is asked about requests: what webhooks and policies say in the same words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from knarr.machinery.resources import Version
from services.apiserver.admission.matching import Match
from services.apiserver.aside import in_turn

if TYPE_CHECKING:
    from services.apiserver.admission.conditions import Conditions
    from services.apiserver.admission.expressions import Scene

IGNORE, IF_NEEDED = "Ignore", "IfNeeded"
# Of what is said by who has all his expressions compiled at once.
SMALL_BYTES = 1024

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Consulted:
    """A webhook or a policy, compiled. ``said`` is the message of the one, the spec of the other; ``match`` tells which requests are
    meant."""

    said: Any
    match: Match

    def may_concern(self, operation: str, version: Version, subresource: str) -> bool:
        """Whether there can be such a request that it is about."""
        return self.match.may_concern(operation, version, subresource)

    @property
    def ignores(self) -> bool:
        """Whether a request passes that it cannot be asked about, or cannot decide."""
        return bool(self.said.failure_policy == IGNORE)

    @property
    def is_reinvoked(self) -> bool:
        return bool(self.said.reinvocation_policy == IF_NEEDED)

    @property
    def has_params(self) -> bool:
        """Whether its expressions see a parameter."""
        return False

    @cached_property
    def conditions(self) -> Conditions:
        # What they stand on is only loaded by those who have expressions.
        from services.apiserver.admission.conditions import Conditions

        return Conditions.of(self.said.match_conditions, params=self.has_params)

    async def is_about(self, scene: Scene) -> bool:
        """Whether its conditions hold. Raises ConditionsFailed, ExpressionFailed."""
        if not self.said.match_conditions:
            return True
        if "conditions" not in vars(self):
            await self.compiled(lambda: self.conditions)
        return await self.conditions.hold(scene)

    async def compiled(self, work: Callable[[], T]) -> T:
        """What ``work`` compiles of what it says; aside where that may be much."""
        if self.said.ByteSize() > SMALL_BYTES:
            return await in_turn(work)
        found = work()
        # There may be a hundred of them: others have their turn in between.
        await asyncio.sleep(0)
        return found
