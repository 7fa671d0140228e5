"""What an admission plugin is given and may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from services.apiserver.pipeline.backend import Backend
from services.apiserver.results import Ref

CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"


@dataclass(frozen=True, slots=True)
class Admission:
    """A write on its way: ``obj`` may be changed by a plugin; None for a delete."""

    operation: str
    ref: Ref
    obj: Any
    backend: Backend


class Plugin(Protocol):
    """Refuses by raising StatusError; otherwise may change ``admission.obj``."""

    operations: ClassVar[frozenset[str]]

    async def admit(self, admission: Admission) -> None: ...
