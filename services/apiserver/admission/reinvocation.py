"""Who is asked once more when somebody behind him has changed the object: the same for webhooks and for policies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.objects.copies import copy_of
from services.apiserver.admission.attributes import Attributes, Reinvocation


@dataclass(slots=True)
class Asked:
    """By key: ``before`` are those who were asked and want to be again if the object changes, ``again`` those who are to be. ``left`` is
    the object as they left it."""

    before: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    left: Any = None

    @classmethod
    def begin(cls, attributes: Attributes, plugin: str) -> tuple[Reinvocation, Asked]:
        """For one round of a plugin. In the second one it is looked whether the others have changed the object meanwhile."""
        round_ = attributes.reinvocation
        if round_ is None:
            round_ = attributes.reinvocation = Reinvocation()
        asked: Asked = round_.kept.setdefault(plugin, cls())
        if round_.running and asked.left != attributes.obj:
            asked.ask_again()
        return round_, asked

    def ask_again(self) -> None:
        self.again |= self.before
        self.before = set()

    def leave(self, attributes: Attributes) -> None:
        self.left = copy_of(attributes.obj) if attributes.obj is not None else None
