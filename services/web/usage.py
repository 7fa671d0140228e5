"""What nodes and pods have used of processors and memory for the last hour, as metrics.k8s.io tells it: it remembers nothing itself.

Bounded: so many samples of so many objects, 12 bytes each. ``Memory`` keeps them and does no I/O; ``Sampler`` asks.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from knarr.client.clock import SYSTEM_CLOCK, Clock
from services.web.api import Api, Refused, silence
from services.web.packed import ObjectKey

METRICS = "/apis/metrics.k8s.io/v1beta1"
SAMPLE_SECONDS, KEPT_SAMPLES, MOST_OBJECTS = 10.0, 360, 3000
# Without metrics: somebody may install what tells them.
MISSING_SECONDS = 60.0
# A node whose kubelet does not answer for so many samples is not forgotten.
MISSED_SAMPLES = 20
MEBIBYTE = 2**20
EVERYWHERE = ""
# Who is not known, and who has no right.
LACKING = (401, 403)
# An object, its cores and its bytes.
Sample = tuple[ObjectKey, float, float]
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti|)")
_FACTORS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_FACTORS |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def amount(text: str) -> float:
    """A quantity of what metrics tell, in cores or bytes; 0 for what is none."""
    found = _QUANTITY.fullmatch(text)
    return float(found[1]) * _FACTORS[found[2]] if found is not None else 0.0


def used(item: Mapping[str, Any]) -> tuple[float, float]:
    """Cores and bytes of a NodeMetrics, or of all containers of a PodMetrics."""
    parts = [item["usage"]] if "usage" in item else [container.get("usage") or {} for container in item.get("containers") or ()]
    return sum(amount(part.get("cpu", "0")) for part in parts), sum(amount(part.get("memory", "0")) for part in parts)


class Memory:
    """For one loop. Times are shared by all objects: each sample of an object has the number of its time."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=KEPT_SAMPLES)
        # How many times there have been; the last one's number is one less.
        self._count = 0
        # By object: the numbers of its samples' times, and its cores and MiB.
        self._kept: dict[ObjectKey, tuple[array[int], array[float]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def objects(self) -> Collection[ObjectKey]:
        """Those of which there are samples: a view that changes with us."""
        return self._kept.keys()

    def take(self, at: float, samples: Iterable[Sample]) -> None:
        """``at`` is in seconds since 1970, a sample has cores and bytes. Objects beyond MOST_OBJECTS are left out."""
        number = self._count
        self._times.append(at)
        self._count += 1
        for key, cores, size in samples:
            if key not in self._kept and len(self._kept) >= MOST_OBJECTS:
                continue
            numbers, amounts = self._kept.setdefault(key, (array("L"), array("f")))
            numbers.append(number)
            amounts.extend((cores, size / MEBIBYTE))
            # Cut now and then, not each time: it moves all that stays.
            if numbers[0] < self._count - 2 * KEPT_SAMPLES:
                gone = next(place for place, one in enumerate(numbers) if one >= self._count - KEPT_SAMPLES)
                del numbers[:gone], amounts[: 2 * gone]
        self.forget(lambda key: self._kept[key][0][-1] < number - MISSED_SAMPLES)

    def forget(self, chosen: Callable[[ObjectKey], bool]) -> None:
        """Forgets all samples of the objects of which that is so."""
        for key in list(filter(chosen, self._kept)):
            del self._kept[key]

    def of(self, key: ObjectKey) -> dict[str, list[float]]:
        """``at`` in milliseconds since 1970, ``cpu`` in cores and ``memory`` in bytes, the oldest first; empty lists for the unknown."""
        numbers, amounts = self._kept.get(key, (array("L"), array("f")))
        first = self._count - len(self._times)
        places = [place for place, number in enumerate(numbers) if number >= first]
        return {
            "at": [round(self._times[numbers[place] - first] * 1000) for place in places],
            "cpu": [round(amounts[2 * place], 6) for place in places],
            "memory": [round(amounts[2 * place + 1] * MEBIBYTE) for place in places],
        }


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered to one question: samples, or in words why there are none. ``refused``: for lack of a right."""

    samples: Sequence[Sample] = ()
    words: str = ""
    refused: bool = False


class Sampler:
    """Asks as the viewer: for pods everywhere, or, where he may not see these, in each of ``namespaces``. What he may see no more is
    forgotten."""

    def __init__(self, api: Api, clock: Clock = SYSTEM_CLOCK, namespaces: Collection[str] = ()) -> None:
        self._api, self._clock, self._namespaces = api, clock, namespaces
        self.memory = Memory()
        # What was told last, by resource and namespace; of single namespaces only where he may not see all.
        self._told: dict[tuple[str, str], Told] = {}
        self._named = asyncio.Event()

    def standing(self, key: ObjectKey) -> str:
        """In words why there are no samples of an object; empty where there may be."""
        return self._told_of(key).words

    def named(self) -> None:
        """There is another namespace: it is asked for at once."""
        self._named.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            pause = SAMPLE_SECONDS if await self.sample() else MISSING_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._named.wait()

    async def sample(self) -> bool:
        """One sample of everything; whether anything is measured, as far as he may know."""
        self._named.clear()
        told = {(resource, EVERYWHERE): await self._ask(resource) for resource in ("nodes", "pods")}
        if told["pods", EVERYWHERE].refused:
            told |= {("pods", namespace): await self._ask("pods", namespace) for namespace in tuple(self._namespaces)}
        self._told = told
        self.memory.forget(lambda key: self._told_of(key).refused)
        if found := [sample for one in told.values() for sample in one.samples]:
            self.memory.take(self._clock.now().timestamp(), found)
        return any(not one.words for one in told.values())

    def _told_of(self, key: ObjectKey) -> Told:
        return self._told.get((key.resource, key.namespace)) or self._told.get((key.resource, EVERYWHERE), Told())

    async def _ask(self, resource: str, namespace: str = EVERYWHERE) -> Told:
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        try:
            answer = await self._api.json("GET", f"{METRICS}{within}/{resource}")
        except Refused as error:
            return Told(words=str(error), refused=error.code in LACKING)
        except (aiohttp.ClientError, OSError) as error:
            return Told(words=silence(error))
        return Told([_sample(resource, item) for item in answer.get("items") or ()])


def _sample(resource: str, item: Mapping[str, Any]) -> Sample:
    metadata = item["metadata"]
    return (ObjectKey(resource, metadata.get("namespace", ""), metadata["name"]), *used(item))
