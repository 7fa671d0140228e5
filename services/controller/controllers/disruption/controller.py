"""Disruption: says of each budget how many of its pods may be disrupted now; evictions are granted by that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import StatusError
from knarr.machinery.selectors import format_label_selector
from knarr.objects.disruptions import budget_selector, covers
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import controller_of
from knarr.objects.pods import is_ready
from services.controller.controller import Context, Controller
from services.controller.controllers.disruption.decide import (
    Expected,
    controllers,
    counts_controllers,
    decide,
    expected,
    failed,
    unmanaged,
)
from services.controller.controllers.disruption.scales import NoScale, Scales
from services.controller.workloads.controller import again
from services.controller.workloads.status import report

# When it is tried again to learn how many pods are wanted: nothing tells of a definition or a scale that comes.
RETRY_SECONDS = 15.0


class DisruptionController(Controller):
    name = "disruption"
    speaks_as = "controllermanager"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._budgets = self.watches(policy.PodDisruptionBudget)
        self._pods = self.hears(core.Pod, self._pod_changed)
        self._scales = Scales(context.client, self.reads(apps.ReplicaSet), self.reads(apps.Deployment))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> Iterator[Key]:
        """Those that are about the pod, as it was or as it is."""
        if old is not None and new is not None and _facts(old) == _facts(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            found = [key_of(budget) for budget in self._budgets.list(pod.metadata.namespace) if covers(budget, pod)]
            yield from found
            if pod is new and len(found) > 1 and (old is None or old.metadata.labels != new.metadata.labels):
                self._tell_several(new, found)

    def _tell_several(self, pod: core.Pod, budgets: Sequence[Key]) -> None:
        names = ", ".join(f'"{key.name}"' for key in sorted(budgets))
        message = f'Pod "{key_of(pod)}" matches multiple PodDisruptionBudgets: {names}. It cannot be evicted until one is left.'
        self.recorder.event(pod, WARNING, "MultiplePodDisruptionBudgets", message)

    async def reconcile(self, key: Key) -> Again | None:
        budget = self._budgets.get(*key)
        if budget is None:
            return None
        selector, now = budget_selector(budget), self.context.clock.now()
        candidates = [] if selector is None else self._pods.list(key.namespace)
        pods = [pod for pod in candidates if selector is not None and selector.matches(pod.metadata.labels)]
        if not pods:
            self.recorder.event(budget, NORMAL, "NoPods", "No matching pods found")
        try:
            wanted = await self._expected(budget, pods)
        except (NoScale, StatusError, ValueError) as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self.recorder.event(budget, WARNING, "CalculateExpectedPodCountFailed", message)
            await report(self.client, budget, failed(budget, str(error), now))
            return Again(RETRY_SECONDS)
        plan = decide(budget, pods, wanted, now)
        for pod in plan.overdue:
            message = f"Pod was expected by PDB {key} to be deleted but it wasn't"
            self.recorder.event(pod, WARNING, "NotDeleted", message)
        await report(self.client, budget, plan.status)
        return again(plan.again_seconds)

    async def _expected(self, budget: policy.PodDisruptionBudget, pods: Sequence[core.Pod]) -> Expected:
        """Raises NoScale, StatusError, ValueError where it cannot be told."""
        if not counts_controllers(budget):
            return expected(budget, pods, {})
        if unmanaged(pods):
            self._tell_unmanaged(budget)
        scales: dict[str, int] = {}
        for reference, pod in controllers(pods).values():
            found = await self._scales.of(reference, budget.metadata.namespace)
            if found is None:
                raise NoScale(f'found no controllers for pod "{pod.metadata.name}"')
            uid, count = found
            scales[uid] = count
        return expected(budget, pods, scales)

    def _tell_unmanaged(self, budget: policy.PodDisruptionBudget) -> None:
        selector = budget_selector(budget)
        message = (
            f"Pods selected by this PodDisruptionBudget (selector: {format_label_selector(selector) if selector else ''}) were found to be "
            "unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To "
            'account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
        )
        self.recorder.event(budget, WARNING, "UnmanagedPods", message)


def _facts(pod: core.Pod) -> object:
    """What of a pod a budget's status follows from."""
    owner = controller_of(pod)
    return pod.metadata.uid, dict(pod.metadata.labels), is_ready(pod), is_deleting(pod), None if owner is None else owner.uid
