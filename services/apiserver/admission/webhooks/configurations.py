"""The webhooks of all configurations of a kind, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from services.apiserver.admission.consulted import Consulted
from services.apiserver.admission.matching import Match
from services.apiserver.entry import Entry

if TYPE_CHECKING:
    from services.apiserver.webhooks.hook import Hook

V1, V1BETA1 = "v1", "v1beta1"
# Nothing is done beside the answer: not at all, or not where a request is dry.
NO_SIDE_EFFECTS, NONE_ON_DRY_RUN = "None", "NoneOnDryRun"


@dataclass(frozen=True, eq=False)
class CompiledWebhook(Consulted):
    """``key`` tells it apart from all others, also of its name; it is said by a ValidatingWebhook or a MutatingWebhook."""

    configuration: str
    key: str

    @property
    def name(self) -> str:
        return str(self.said.name)

    @property
    def seconds(self) -> float:
        return float(self.said.timeout_seconds)

    @cached_property
    def review_version(self) -> str:
        """The first of those that it accepts which is known here; empty when none is."""
        return next((version for version in self.said.admission_review_versions if version in (V1, V1BETA1)), "")

    @cached_property
    def hook(self) -> Hook:
        return self.hook_for(self.seconds)

    def hook_for(self, seconds: float) -> Hook:
        """The same, told how long it is waited for."""
        from services.apiserver.webhooks.hook import hook_of

        return hook_of(self.said.client_config, seconds)


def compiled_webhooks(entries: Sequence[Entry]) -> list[CompiledWebhook]:
    """Those of each configuration in their order, the configurations by name. What cannot be compiled was never let in."""
    found: list[CompiledWebhook] = []
    for entry in entries:
        counts: dict[str, int] = {}
        for said in entry.shared_message.webhooks:
            count = counts[said.name] = counts.get(said.name, -1) + 1
            found.append(CompiledWebhook(said, Match.of_webhook(said), entry.name, f"{entry.name}/{said.name}/{count}"))
    return found
