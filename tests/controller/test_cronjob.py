"""When CronJobs are due, and that they start, replace and remove their Jobs."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.cron import InvalidSchedule, UnknownZone
from knarr.machinery.errors import status_error
from knarr.machinery.times import to_datetime, to_time
from knarr.objects.conditions import set_condition
from knarr.objects.owners import owner_reference
from services.apiserver.strategies.schedule import schedule_error
from services.controller.controllers.cronjob.controller import CronJobController
from services.controller.controllers.cronjob.decide import SCHEDULED_AT
from services.controller.controllers.cronjob.due import due
from services.controller.controllers.cronjob.schedule import Schedule
from services.controller.controllers.ttlafterfinished.controller import TtlAfterFinishedController
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import cron_job, job
from tests.support.api import FaultyClient
from tests.support.virtual_time import START, virtual_time

NEW_YORK = "America/New_York"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(schedule: str, after: str, zone: str = "", count: int = 1) -> list[str]:
    found, moment = [], at(after)
    for _ in range(count):
        due_at = Schedule.parse(schedule, zone).next(moment)
        assert due_at is not None
        moment = due_at
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("schedule", "after", "due_at"),
    [
        ("* * * * *", "2026-01-01 00:00:30", "01-01 00:01"),
        ("*/15 * * * *", "2026-01-01 00:15:00", "01-01 00:30"),
        ("7/20 * * * *", "2026-01-01 00:00:00", "01-01 00:07"),
        ("0 9-17/4 * * mon-fri", "2026-01-02 17:30:00", "01-05 09:00"),
        ("0 0 ? * 0", "2026-01-01 00:00:00", "01-04 00:00"),
        ("@hourly", "2026-01-01 00:30:00", "01-01 01:00"),
        ("@weekly", "2026-01-01 00:30:00", "01-04 00:00"),
        ("@yearly", "2026-01-01 00:00:00", "01-01 00:00"),
        ("@every 1h30m", "2026-01-01 00:00:10", "01-01 01:30"),
        ("@every -5s", "2026-01-01 00:00:59", "01-01 00:01"),
        ("+7,,9, *-3 * * *", "2026-01-01 04:00:00", "01-01 04:07"),
        ("0 0 29 FEB *", "2026-03-01 00:00:00", "02-29 00:00"),
        # A day of the month or of the week, unless one of the two is any day; a step is not any day.
        ("0 0 13 * 5", "2026-01-03 00:00:00", "01-09 00:00"),
        ("0 0 13 * *", "2026-01-03 00:00:00", "01-13 00:00"),
        ("0 0 */2 * 1", "2026-01-05 12:00:00", "01-07 00:00"),
        ("0 0 */1 * 1", "2026-01-05 12:00:00", "01-12 00:00"),
    ],
)
def test_the_next_time(schedule: str, after: str, due_at: str) -> None:
    assert following(schedule, after) == [due_at]


def test_a_time_that_a_day_leaves_out_is_left_out_and_one_that_it_has_twice_is_due_twice() -> None:
    """As Kubernetes' parser has it: New York's clocks go from 2 to 3 on 2026-03-08, and from 2 to 1 on 2026-11-01."""
    assert following("30 2 * * *", "2026-03-07 12:00:00", NEW_YORK) == ["03-09 06:30"]
    assert following("0 3 * * *", "2026-03-07 12:00:00", NEW_YORK) == ["03-08 07:00"]
    assert following("30 * * * *", "2026-03-08 06:00:00", NEW_YORK, 3) == ["03-08 06:30", "03-08 07:30", "03-08 08:30"]
    assert following("30 1 * * *", "2026-10-31 12:00:00", NEW_YORK, 3) == ["11-01 05:30", "11-01 06:30", "11-02 06:30"]
    assert following("0 0 1 7 *", "2026-01-01 00:00:00", "Europe/Berlin") == ["06-30 22:00"]


@pytest.mark.parametrize("seed", range(30))
def test_it_finds_what_a_look_at_each_minute_finds(seed: int) -> None:
    source = random.Random(seed)
    minute, hour = source.randrange(60), source.choice(["*", "1", "2", "1,2,3", "*/6"])
    schedule, zone = f"{minute} {hour} * * *", source.choice([NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"])
    start = at(source.choice(["2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"])).replace(hour=3)
    hours = {"*": range(24), "1": (1,), "2": (2,), "1,2,3": (1, 2, 3), "*/6": (0, 6, 12, 18)}[hour]
    minutes = (start + timedelta(minutes=number) for number in range(1, 3 * 24 * 60 + 1))
    place = ZoneInfo(zone)
    expected = [m for m in minutes if (shown := m.astimezone(place)).minute == minute and shown.hour in hours]
    assert [*Schedule.parse(schedule, zone).between(start, start + timedelta(days=3))] == expected


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "x * * * *", "@never"])
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(InvalidSchedule):
        Schedule.parse(text)


PERIODS = ("-", "+", "5", "1.5", "9000000", "h", "m", "s", "ms", "daily")


def made_up(source: random.Random) -> str:
    if not source.randrange(4):
        return source.choice(("@every ", "@")) + "".join(source.choices(PERIODS, k=3))
    pieces = ("*", "?", "0", "3", "12", "70", "-", "/", ",", "+", "mon", "FEB")
    return " ".join("".join(source.choices(pieces, k=source.randint(1, 3))) for _ in range(5 if source.randrange(9) else 4))


def test_what_the_api_server_takes_can_be_read_and_nothing_else() -> None:
    source, taken = random.Random(1), 0
    # Few of what is made up at random are right in all five fields, so one field at a time is made up as well.
    for _ in range(4000):
        fields = made_up(source).split(" ")
        text = " ".join(["*"] * 4 + fields[:1]) if len(fields) == 5 else " ".join(fields)
        try:
            Schedule.parse(text)
            read = True
        except InvalidSchedule:
            read = False
        assert (schedule_error(text) == "") == read, text
        taken += read
    assert 400 < taken < 3600


def test_a_zone_that_is_not_known_is_said_and_a_day_that_never_comes_is_none() -> None:
    with pytest.raises(UnknownZone, match="unknown time zone Mars/Olympus"):
        Schedule.parse("* * * * *", "Mars/Olympus")
    assert Schedule.parse("0 0 30 2 *").next(START) is None
    assert Schedule.parse("TZ=Asia/Tokyo 0 9 * * *").next(START - timedelta(seconds=1)) == START


def test_of_what_was_missed_the_last_counts_and_many_are_told_of() -> None:
    made = cron_job("tick", "* * * * *")
    made.metadata.creation_timestamp.CopyFrom(to_time(START))
    schedule = Schedule.parse("* * * * *")
    assert due(made, schedule, START + timedelta(seconds=30)).at is None
    few = due(made, schedule, START + timedelta(minutes=99, seconds=5))
    assert (few.at, few.many, few.next) == (START + timedelta(minutes=99), False, START + timedelta(minutes=100))
    years = due(made, schedule, START + timedelta(days=3000, seconds=5))
    assert (years.at, years.many) == (START + timedelta(days=3000), True)
    made.spec.starting_deadline_seconds = 10
    assert due(made, schedule, START + timedelta(days=3000, seconds=30)).at is None
    # The clock was set back: nothing is due again.
    made.status.last_schedule_time.CopyFrom(to_time(START + timedelta(hours=2)))
    back = due(made, schedule, START + timedelta(hours=1))
    assert (back.at, back.next) == (None, START + timedelta(hours=2, minutes=1))


# On the API server.

CONTROLLERS = (CronJobController, TtlAfterFinishedController)


def jobs(c: Cluster) -> list[str]:
    return sorted(found.metadata.name for found in c.api.all(batch.Job))


def the(c: Cluster) -> batch.CronJob:
    return c.api.all(batch.CronJob)[0]


def minute_of(seconds: float) -> int:
    return int(START.timestamp() + seconds) // 60


async def end(c: Cluster, name: str, kind: str = "Complete") -> None:
    """As the Job's controller would say."""
    now = START + timedelta(seconds=asyncio.get_running_loop().time())

    def over(found: batch.Job) -> None:
        found.status.start_time.CopyFrom(to_time(now))
        set_condition(found.status, kind, True, now=now)
        if kind == "Complete":
            found.status.completion_time.CopyFrom(to_time(now))

    await c.edit(batch.Job, name, over, subresource="status")


@virtual_time
async def test_it_starts_a_job_each_minute_and_keeps_some_of_those_that_are_over() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        made = cron_job("tick", "* * * * *", time_zone="Europe/Berlin")
        made.spec.job_template.metadata.labels["kept"] = "yes"
        await c.client.create(made)
        for number in range(1, 6):
            await c.until(lambda: the(c).status.active, 120)
            name = f"tick-{minute_of(60 * number)}"
            assert [found.name for found in the(c).status.active] == [name]
            assert to_datetime(the(c).status.last_schedule_time) == START + timedelta(minutes=number)
            started = next(found for found in c.api.all(batch.Job) if found.metadata.name == name)
            assert started.metadata.annotations[SCHEDULED_AT] == f"2026-01-01T01:0{number}:00+01:00"
            assert started.metadata.labels["kept"] == "yes" and started.metadata.owner_references[0].kind == "CronJob"
            await end(c, name, "Failed" if number == 1 else "Complete")
            await c.until(lambda: not the(c).status.active)
        await asyncio.sleep(1)
        assert jobs(c) == [f"tick-{minute_of(60 * number)}" for number in (1, 3, 4, 5)]
        assert the(c).status.last_successful_time.seconds >= START.timestamp() + 300
        assert len(c.events("SuccessfulCreate")) == 5 and len(c.events("SuccessfulDelete")) == 1
        assert f"Saw completed job: tick-{minute_of(60)}, condition: Failed" in c.events("SawCompletedJob")


@virtual_time
async def test_the_time_between_two_starts_is_not_counted_anew_by_who_looks_meanwhile() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        # A deadline that is shorter than the time between two keeps none from starting.
        await c.client.create(cron_job("tick", "@every 2m", starting_deadline_seconds=30))
        for number in range(1, 4):
            await asyncio.sleep(115)
            await c.edit(batch.CronJob, "tick", lambda found: found.metadata.annotations.update(look="again"))
            await asyncio.sleep(5.5)
            assert len(jobs(c)) == number
            await c.edit(batch.CronJob, "tick", lambda found: found.metadata.annotations.clear())
            assert to_datetime(the(c).status.last_schedule_time) == START + timedelta(minutes=2 * number)


@pytest.mark.parametrize(("policy", "running"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
def test_what_still_runs_is_let_be_waited_for_or_replaced(policy: str, running: int) -> None:
    @virtual_time
    async def play() -> None:
        async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
            await c.client.create(cron_job("tick", "* * * * *", concurrency_policy=policy))
            await asyncio.sleep(200)
            assert len(jobs(c)) == len(the(c).status.active) == running
            first, last = f"tick-{minute_of(60)}", f"tick-{minute_of(180)}"
            assert (first in jobs(c), last in jobs(c)) == (policy != "Replace", policy != "Forbid")
            said = "Not starting job because prior execution is running and concurrency policy is Forbid"
            assert sorted(set(c.events("JobAlreadyActive"))) == ([said] if policy == "Forbid" else [])
            if policy == "Forbid":
                # As soon as it may, for the last time that was missed.
                await end(c, first)
                await c.until(lambda: last in jobs(c), 1)

    play()


@virtual_time
async def test_a_suspended_one_starts_nothing_and_then_only_what_its_deadline_lets_it() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        await c.client.create(cron_job("tick", "*/5 * * * *", suspend=True, starting_deadline_seconds=60))
        await asyncio.sleep(400)
        assert not jobs(c)
        await c.edit(batch.CronJob, "tick", lambda found: setattr(found.spec, "suspend", False))
        await asyncio.sleep(100)
        assert not jobs(c)
        await c.until(lambda: jobs(c) == [f"tick-{minute_of(600)}"], 200)


@virtual_time
async def test_jobs_that_others_make_of_it_are_known_and_those_that_vanish_are_missed() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        made = await c.client.create(cron_job("tick", "@yearly"))
        manual = job("by-hand")
        manual.metadata.owner_references.append(owner_reference(made))
        await c.client.create(manual)
        await c.until(lambda: [found.name for found in the(c).status.active] == ["by-hand"])
        assert c.events("UnexpectedJob") == ["Saw a job that the controller did not create or forgot: by-hand"]
        await c.client.delete(batch.Job, "by-hand", "default", propagation_policy="Background")
        await c.until(lambda: not the(c).status.active and c.events("MissingJob") == ["Active job went missing: by-hand"])


@virtual_time
async def test_a_clock_that_jumps_starts_one_job_for_all_that_was_missed() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        await c.client.create(cron_job("tick", "* * * * *"))
        await asyncio.sleep(70)
        assert len(jobs(c)) == 1
        c.clock.slept += 3 * 86_400
        await asyncio.sleep(35)
        assert len(jobs(c)) == 2 and len(c.events("TooManyMissedTimes")) == 1
        c.clock.slept -= 3 * 86_400
        await asyncio.sleep(300)
        assert len(jobs(c)) == 2


@virtual_time
async def test_a_create_whose_reply_is_lost_starts_one_job() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        lost = status_error("ServiceUnavailable", "the connection was lost")
        c.api.fail_next(lost, verb="create", message_type=batch.Job, after=True)
        await c.client.create(cron_job("tick", "* * * * *"))
        await asyncio.sleep(90)
        assert jobs(c) == [f"tick-{minute_of(60)}"] == [found.name for found in the(c).status.active]


@virtual_time
async def test_nothing_is_kept_of_one_that_went_while_its_status_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    update = FaultyClient.update

    async def answered_late(client: FaultyClient, obj: Any, *, subresource: str = "") -> Any:
        answer = await update(client, obj, subresource=subresource)
        await asyncio.sleep(5)
        return answer

    monkeypatch.setattr(FaultyClient, "update", answered_late)
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        await c.client.create(cron_job("tick", "* * * * *"))
        await c.until(lambda: the(c).status.active, 90)
        await c.client.delete(batch.CronJob, "tick", "default", propagation_policy="Orphan")
        await asyncio.sleep(20)
        controller = c.manager.queues["cronjob"]._reconcile.__self__  # type: ignore[attr-defined]
        assert (len(controller._newest), len(controller._said)) == (0, 0)


@virtual_time
async def test_jobs_that_are_over_go_after_their_time() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        for name, seconds in (("soon", 30), ("at-once", 0), ("later", 3600)):
            await c.client.create(job(name, ttl_seconds_after_finished=seconds))
        await c.client.create(job("never"))
        await c.client.create(job("runs", ttl_seconds_after_finished=0))
        for name in ("soon", "at-once", "later", "never"):
            await end(c, name, "Failed" if name == "soon" else "Complete")
        gone = lambda: {found.metadata.name for found in c.api.all(batch.Job) if found.metadata.HasField("deletion_timestamp")}  # noqa: E731
        await c.until(lambda: gone() == {"at-once"}, 1)
        await asyncio.sleep(20)
        assert gone() == {"at-once"}
        await c.until(lambda: gone() == {"at-once", "soon"}, 15)
        await c.edit(batch.Job, "later", lambda found: setattr(found.spec, "ttl_seconds_after_finished", 7200))
        await asyncio.sleep(3600)
        assert gone() == {"at-once", "soon"}
        c.clock.slept += 3600
        await c.until(lambda: "later" in gone(), 61)
        assert {*jobs(c)} >= {"never", "runs"}
