"""One lesson, or the tutorial, under way: a namespace of its own, and how far the learner has come.

A lesson goes through STATES. What has to show is looked for in what the page follows, each time something changes. Whatever happens, the
namespace is taken away: when it is left, when no browser was there for a while, when the page's server ends; one that a server left by
crashing is taken away by the next, when nobody has said for a while that it is in use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import aiohttp

from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.tasks import cancel
from services.web.api import Api, Refused
from services.web.learning.checks import Check, all_hold
from services.web.learning.course import Lesson, Setup, Step, lessons, steps, with_image
from services.web.learning.objects import CONFLICT, NOT_FOUND, apply, gone, remove
from services.web.recorder import Recorder

log = logging.getLogger(__name__)

# In this order; `failed` may follow each of them.
STATES = ("preparing", "breaking", "asked", "found", "mended", "failed")
PREFIX, TUTORIAL = "knarr-lesson-", "knarr-tutorial"
LABEL, USED_AT = "knarr.dev/lesson", "knarr.dev/used-at"
# A setup waits for images, a fault for a kubelet's patience.
READY_SECONDS, SEEN_SECONDS, EMPTY_SECONDS = 180.0, 180.0, 120.0
# How long something must hold, so that a moment between two states is taken for neither.
STEADY_SECONDS, LOOK_SECONDS, CROWD_SECONDS = 2.0, 0.5, 0.05
BEAT_SECONDS, UNUSED_SECONDS, ABANDONED_SECONDS = 20.0, 60.0, 120.0
LEAVE_SECONDS = 5.0
# The example's image, where a node has it, is there without a registry.
KNOWN_IMAGE, PULLED_IMAGE = "hello:1", "busybox:1.36"


class Elsewhere(LookupError):
    """What is asked of a lesson that is not under way."""


class Classroom:
    """For one loop. ``watching``: how many browsers there are."""

    def __init__(self, api: Api, recorder: Recorder, watching: Callable[[], int], clock: Clock = SYSTEM_CLOCK) -> None:
        self._api, self._recorder, self._watching, self._clock = api, recorder, watching, clock
        self.namespace = ""
        self.lesson: Lesson | None = None
        self.state, self.said, self.wrong = "", "", 0
        # Of the tutorial: which step is being done, and which have been.
        self.step, self.done = -1, 0
        self._known: frozenset[str] = frozenset()
        self._image = PULLED_IMAGE
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def keep(self) -> None:
        """Says that the namespace is in use while it is, and takes away what is in use no more. Works until cancelled."""
        unused = 0.0
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            unused = 0.0 if self._watching() else unused + BEAT_SECONDS
            with suppress(Refused, aiohttp.ClientError, OSError):
                if self.namespace and unused >= UNUSED_SECONDS:
                    await self.leave()
                if self.namespace:
                    annotations = {USED_AT: self._clock.now().isoformat()}
                    await self._patch_namespace({"metadata": {"annotations": annotations}})
                await self._sweep()

    async def _sweep(self) -> None:
        """Takes away the namespaces of lessons that nobody has used for long."""
        for namespace in self._recorder.objects("namespaces"):
            metadata = namespace["metadata"]
            ours = LABEL in (metadata.get("labels") or {}) and metadata["name"] != self.namespace
            if ours and "deletionTimestamp" not in metadata and self._idle_seconds(metadata) > ABANDONED_SECONDS:
                await gone(self._api, f"/api/v1/namespaces/{metadata['name']}")

    def _idle_seconds(self, metadata: Mapping[str, Any]) -> float:
        text = (metadata.get("annotations") or {}).get(USED_AT) or metadata["creationTimestamp"]
        try:
            return (self._clock.now() - datetime.fromisoformat(text)).total_seconds()
        except (ValueError, TypeError):
            # Whoever wrote that, it is not in use by a page.
            return ABANDONED_SECONDS + 1

    async def begin(self, id: str, image: str = "") -> None:
        """Begins a lesson, after what was under way was left. Raises LookupError where there is none of that id."""
        lesson = lessons().get(id)
        if lesson is None:
            raise Elsewhere(f"there is no lesson {id}")
        async with self._lock:
            await self._leave()
            self._image = image or self._usual_image()
            self.lesson, self.state, self.said, self.wrong = lesson, "preparing", "", 0
            self._task = asyncio.create_task(self._guarded(self._teach(lesson)), name=f"lesson {id}")

    async def begin_tutorial(self, image: str = "") -> None:
        """Begins with the first step."""
        async with self._lock:
            await self._leave()
            self._image = image or self._usual_image()
            self.state, self.said, self.step, self.done = "preparing", "", 0, 0
            self._task = asyncio.create_task(self._guarded(self._guide()), name="tutorial")

    async def make(self) -> None:
        """Makes what the present step of the tutorial says that the page makes. Raises LookupError, Refused."""
        step = self._present()
        for obj in step.objects:
            await apply(self._api, with_image(obj, self._image), self.namespace)

    async def go(self, to: int) -> None:
        """Goes to a step of the tutorial. Raises LookupError where there is none, or those before it are not done."""
        self._present()
        if not 0 <= to <= min(self.done, len(steps()) - 1):
            raise Elsewhere(f"there is no step {to}, or those before it are not done")
        await self._turn(to)

    def _present(self) -> Step:
        if self.step < 0:
            raise Elsewhere("the tutorial is not under way")
        return steps()[self.step]

    async def _turn(self, to: int) -> None:
        self.step = to
        self._known = self._uids()
        for obj in steps()[to].removed:
            await remove(self._api, obj, self.namespace)

    def answer(self, id: str) -> bool:
        """Whether that is the cause; ``id`` is a lesson's. Raises LookupError where nothing is asked."""
        if self.lesson is None or self.state not in STATES[2:5]:
            raise Elsewhere("no lesson asks anything now")
        if id != self.lesson.id:
            self.wrong += 1
            return False
        if self.state == "asked":
            self.state = "found"
        return True

    async def mend(self) -> None:
        """Does it for the learner, once the cause was found. Raises LookupError, Refused."""
        if self.lesson is None or self.state not in ("found", "mended"):
            raise Elsewhere("first the cause is to be found")
        for obj in self.lesson.added:
            await remove(self._api, obj, self.namespace)
        await self._apply(self.lesson.setup.objects)

    async def leave(self) -> None:
        """Ends what is under way, and takes its namespace away."""
        async with self._lock:
            await self._leave()

    async def close(self) -> None:
        """The same, when the page's server ends; what cannot be done in LEAVE_SECONDS is left to the next one."""
        with suppress(Refused, aiohttp.ClientError, OSError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self.leave()

    async def _leave(self) -> None:
        if self._task is not None:
            await cancel([self._task])
        namespace, self.namespace, self._task = self.namespace, "", None
        self.lesson, self.state, self.said, self.step, self.done = None, "", "", -1, 0
        if namespace:
            await gone(self._api, f"/api/v1/namespaces/{namespace}")

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except (Refused, aiohttp.ClientError, OSError) as error:
            self.state, self.said = "failed", str(error) or type(error).__name__

    async def _teach(self, lesson: Lesson) -> None:
        await self._enter(PREFIX + lesson.id, lesson.id)
        await self._apply(lesson.setup.objects)
        await self._await(lesson.setup.ready, READY_SECONDS, "what the lesson is about does not come up")
        self.state = "breaking"
        await self._apply(lesson.broken)
        await self._await(lesson.seen, SEEN_SECONDS, "the fault does not show")
        self.state = "asked"
        while self.state != "mended":
            await self._steady(lesson.setup, lesson.seen)
            # It may be mended before the cause was named; then it still is to be.
            if self.state == "found":
                self.state = "mended"
            await self._pause()

    async def _guide(self) -> None:
        await self._enter(TUTORIAL, "tutorial")
        self.state = "asked"
        await self._turn(0)
        while self.done < len(steps()):
            step = steps()[self.step]
            # What is to be seen in the browser is told by it, by ``seen``.
            if step.see and self.step == self.done and self._hold(step.see):
                self.done += 1
            await self._pause()
        self.state = "mended"

    def seen(self, opened: str, viewed: str) -> None:
        """The browser shows an object of that resource, and that view. Raises LookupError."""
        step = self._present()
        if self.step == self.done and not step.see and (step.opened or step.viewed) and opened == step.opened and viewed == step.viewed:
            self.done += 1

    async def _enter(self, name: str, id: str) -> None:
        """Makes the namespace, once that of before is gone. Raises Refused where it is somebody else's."""
        try:
            found = await self._api.json("GET", f"/api/v1/namespaces/{name}")
        except Refused as error:
            if error.code != NOT_FOUND:
                raise
        else:
            self._refuse_others(found["metadata"])
            await gone(self._api, f"/api/v1/namespaces/{name}")
        metadata = {"name": name, "labels": {LABEL: id}, "annotations": {USED_AT: self._clock.now().isoformat()}}
        # From now on it is taken away, also where this is cut short.
        self.namespace = name
        async with asyncio.timeout(EMPTY_SECONDS):
            while not await self._made(metadata):
                await self._pause()
        # Without its account no pod is taken; a controller makes that.
        async with asyncio.timeout(EMPTY_SECONDS):
            while not await self._has_account():
                await self._pause()

    def _refuse_others(self, metadata: Mapping[str, Any]) -> None:
        """Raises Refused where a namespace is no lesson's, or is that of another page."""
        if LABEL not in (metadata.get("labels") or {}):
            raise Refused(CONFLICT, f"there is a namespace {metadata['name']} that no lesson has made: it is left alone")
        if "deletionTimestamp" not in metadata and self._idle_seconds(metadata) < ABANDONED_SECONDS:
            words = f"another page has this lesson, or had it until a moment ago: wait {ABANDONED_SECONDS:.0f} s"
            raise Refused(CONFLICT, f"namespace {metadata['name']} is in use: {words}, or delete it")

    async def _made(self, metadata: Mapping[str, Any]) -> bool:
        try:
            await self._api.json("POST", "/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": metadata})
        except Refused as error:
            if error.code != CONFLICT:
                raise
            return False
        return True

    async def _has_account(self) -> bool:
        try:
            await self._api.json("GET", f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default")
        except Refused as error:
            if error.code != NOT_FOUND:
                raise
            return False
        return True

    async def _patch_namespace(self, body: Mapping[str, Any]) -> None:
        await self._api.json("PATCH", f"/api/v1/namespaces/{self.namespace}", body, content="application/merge-patch+json")

    async def _apply(self, objects: Iterable[Mapping[str, Any]]) -> None:
        for obj in objects:
            await apply(self._api, with_image(obj, self._image), self.namespace)

    async def _await(self, checks: Sequence[Check], seconds: float, complaint: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not self._hold(checks):
                    await self._pause()
        except TimeoutError:
            raise TimeoutError(f"{complaint} within {seconds:.0f} s; look at its pods in namespace {self.namespace}") from None

    async def _steady(self, setup: Setup, fault: Sequence[Check]) -> None:
        """Until all is well, and has been for a while."""
        since: float | None = None
        # Events tell of what was.
        fault = [check for check in fault if check["of"] != "events"]
        while since is None or self._clock.elapsed() - since < STEADY_SECONDS:
            well = self._hold(setup.ready) and not (fault and self._hold(fault))
            since = None if not well else self._clock.elapsed() if since is None else since
            await self._pause()

    async def _pause(self) -> None:
        """Until something has changed, or a moment is over: what is asked for may be no change."""
        news = asyncio.Event()
        unlisten = self._recorder.listen(lambda key, text: news.set())
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await news.wait()
                # Changes come in crowds.
                await asyncio.sleep(CROWD_SECONDS)
        except TimeoutError:
            pass
        finally:
            unlisten()

    def _hold(self, checks: Sequence[Check]) -> bool:
        return all_hold(checks, self._recorder.objects, self.namespace, self._known)

    def _uids(self) -> frozenset[str]:
        found = (obj for resource in ("pods", "replicasets") for obj in self._recorder.objects(resource, self.namespace))
        return frozenset(obj["metadata"].get("uid", "") for obj in found)

    def _usual_image(self) -> str:
        for node in self._recorder.objects("nodes"):
            for image in (node.get("status") or {}).get("images") or ():
                if KNOWN_IMAGE in (image.get("names") or ()):
                    return KNOWN_IMAGE
        return PULLED_IMAGE

    def told(self) -> dict[str, Any]:
        """Where the learner stands, as JSON."""
        facts: dict[str, Any] = {"namespace": self.namespace, "state": self.state, "said": self.said, "image": self._image}
        if self.lesson is not None:
            facts |= {"lesson": self.lesson.id, "wrong": self.wrong}
        return facts | ({"step": self.step, "done": self.done} if self.step >= 0 else {})

    def explanation(self) -> Mapping[str, str] | None:
        """That of the lesson, once its cause was found."""
        return self.lesson.explanation if self.lesson is not None and self.state in ("found", "mended") else None
