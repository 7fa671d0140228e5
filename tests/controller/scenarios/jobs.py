"""Jobs, and what starts and removes them."""

from __future__ import annotations

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import set_condition
from knarr.objects.jobs import TRACKING
from services.controller.controllers.job.pods import FAILURES as INDEX_FAILURES
from services.controller.controllers.job.pods import INDEX as COMPLETION_INDEX
from tests.controller.objects import (
    cron_job,
    job,
    node,
    owned,
    pod,
)
from tests.controller.scenarios.steps import step
from tests.support.mishaps import World


def job_ending(found: core.Pod) -> str | None:
    """As the name of its Job says; a pod of the indexed one fails while its index is greater than the failures before it."""
    match found.metadata.labels.get("job-name", ""):
        case "sums":
            return "Succeeded"
        case "fails":
            return "Failed"
        case "indexed":
            annotations = found.metadata.annotations
            return "Failed" if int(annotations[COMPLETION_INDEX]) > int(annotations[INDEX_FAILURES]) else "Succeeded"
    return None


async def jobs(w: World) -> None:
    """One succeeds, one fails, one gives up an index; one adopts a pod, loses one, shrinks, is suspended, resumed and too late."""
    w.api.seed(node())
    orphan = core.Pod(spec=job().spec.template.spec)
    orphan.metadata.name, orphan.metadata.namespace, orphan.metadata.labels["app"] = "orphan", "default", "sums"
    await w.client.create(orphan)
    await w.client.create(job("sums", 2, 2))
    await w.client.create(job("fails", 2, 1, backoff_limit=1))
    await w.client.create(job("indexed", 2, 2, completion_mode="Indexed", backoff_limit_per_index=1))
    await step(60)
    served = job("serves", 4, 3, manual_selector=True, active_deadline_seconds=200)
    served.spec.selector.match_labels["app"] = "sums"
    await w.client.create(served)
    await step()
    lost = next(found for found in w.api.all(core.Pod) if found.metadata.name.startswith("serves-"))
    await w.client.delete(core.Pod, lost.metadata.name, "default")
    await step()
    await w.edit(core.Pod, "orphan", lambda found: found.metadata.labels.update(app="other"))
    await step()
    await w.edit(batch.Job, "serves", lambda found: setattr(found.spec, "parallelism", 2))
    await step()
    await w.edit(batch.Job, "serves", lambda found: setattr(found.spec, "suspend", True))
    await step()
    await w.edit(batch.Job, "serves", lambda found: setattr(found.spec, "suspend", False))
    await step(240)


async def uncounted_pods(w: World) -> None:
    """Pods that wait to be counted: of a Job that goes, of one that is over, of none, and of one that stays."""
    w.api.seed(node())
    for name in ("goes", "over", "stays"):
        owner = await w.client.create(job(name))
        waits = owned(pod(f"of-{name}", node="node-1", phase="Running"), owner)
        waits.metadata.finalizers.append(TRACKING)
        w.api.seed(waits)
    alone = pod("of-none", node="node-1", phase="Running")
    alone.metadata.finalizers.append(TRACKING)
    w.api.seed(alone)
    await step()
    await w.client.delete(batch.Job, "goes", "default", propagation_policy="Background")
    await over(w, "over", "Failed")
    await step()
    for name in ("goes", "stays"):
        await w.client.delete(core.Pod, f"of-{name}", "default", grace_period_seconds=0)
    await step()


async def over(w: World, name: str, kind: str = "Complete") -> None:
    """A Job ends, as its own controller would say."""

    def end(found: batch.Job) -> None:
        found.status.start_time.CopyFrom(to_time(w.clock.now()))
        set_condition(found.status, kind, True, now=w.clock.now())
        if kind == "Complete":
            found.status.completion_time.CopyFrom(to_time(w.clock.now()))

    await w.edit(batch.Job, name, end, subresource="status")


async def by_the_clock(w: World) -> None:
    """One keeps a Job that succeeded and none that failed, one replaces its Jobs, one waits for its Job, which vanishes."""
    for name, concurrency in (("keeps", "Allow"), ("replaces", "Replace"), ("waits", "Forbid")):
        made = cron_job(name, "* * * * *", concurrency_policy=concurrency, successful_jobs_history_limit=1, failed_jobs_history_limit=0)
        await w.client.create(made)
    first = int(w.clock.now().timestamp()) // 60 + 1
    await step(90)
    await over(w, f"keeps-{first}")
    await step(60)
    await over(w, f"keeps-{first + 1}")
    await w.client.delete(batch.Job, f"waits-{first}", "default", propagation_policy="Background")
    await step(60)
    await over(w, f"keeps-{first + 2}", "Failed")
    for name in ("keeps", "replaces", "waits"):
        await w.edit(batch.CronJob, name, lambda found: setattr(found.spec, "suspend", True))
    await step()


async def jobs_that_expire(w: World) -> None:
    """Of two that are over one may stay, and one is given more time just before its time is up."""
    for name, seconds in (("goes", 10), ("stays", None), ("later", 35)):
        await w.client.create(job(name) if seconds is None else job(name, ttl_seconds_after_finished=seconds))
        await over(w, name)
    await step()
    await w.edit(batch.Job, "later", lambda found: setattr(found.spec, "ttl_seconds_after_finished", 3600))
    await step()
