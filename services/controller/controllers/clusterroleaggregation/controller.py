"""ClusterRoleAggregation: keeps the rules of those ClusterRoles that gather others', like `admin`, `edit` and `view`.

The API server goes by what is gathered as soon as it changes; what is written here is for those who read the role.
"""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.reconciler import Again
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key
from services.controller.controller import Context, Controller
from services.controller.controllers.clusterroleaggregation.decide import decide, gathers


class ClusterRoleAggregationController(Controller):
    name = "clusterroleaggregation"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._roles = self.hears(rbac.ClusterRole, self._gathering)

    async def reconcile(self, key: Key) -> Again | None:
        role = self._roles.get("", key.name)
        rules = None if role is None else decide(role, self._roles.list())
        if role is not None and rules is not None:
            changed = copy_of(role)
            del changed.rules[:]
            changed.rules.extend(rules)
            await self.client.update(changed)
        return None

    def _gathering(self, old: rbac.ClusterRole | None, new: rbac.ClusterRole | None) -> Iterable[Key]:
        """Any role may be one that another gathers, or was."""
        return [Key("", role.metadata.name) for role in self._roles.list() if gathers(role)]
