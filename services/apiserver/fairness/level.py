"""One priority level: its seats, its queues, and whose turn it is among them. Knows no loop and no clock.

Queues are served by virtual time: each is charged the seats that its requests take times the seconds that they take them, and the one that
is behind is next. The seconds are guessed when a request begins and put right when it ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# What a request is guessed to take.
GUESSED_SECONDS = 0.003


@dataclass(frozen=True, slots=True)
class Shape:
    """What a PriorityLevelConfiguration says. ``shares`` are its part of the server's seats, of which others may borrow
    ``lendable_percent``; it may borrow ``borrowing_percent`` of its own number, or None for any. Without ``queues`` what finds no seat is
    refused."""

    name: str
    is_exempt: bool = False
    shares: int = 0
    lendable_percent: int = 0
    borrowing_percent: int | None = None
    queues: int = 0
    hand_size: int = 0
    queue_length: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that waits."""

    width: int
    since_seconds: float


@dataclass(slots=True, eq=False)
class Queue:
    waiting: deque[Waiting] = field(default_factory=deque)
    width: int = 0
    executing: int = 0
    # The seats of those that were taken from it.
    in_use: int = 0
    # The virtual time at which its next request begins.
    start: float = 0.0


class Level:
    """``seats`` are its own, nominally; ``lendable`` of them others may use, ``borrowable`` it may use of others'."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.name = shape, shape.name
        self.is_exempt = shape.is_exempt
        self.seats = self.lendable = 0
        self.borrowable: float = 0
        self.in_use = 0
        self.executing = 0
        self.waiting = self.waiting_width = 0
        self.virtual = 0.0
        # Its own virtual time among levels.
        self.turn = 0.0
        self._queues: dict[int, Queue] = {}

    @property
    def queues(self) -> Mapping[int, Queue]:
        """Those in which something waits, or from which something was taken; the only one of a level without queues, too."""
        return self._queues

    @property
    def guaranteed(self) -> int:
        """The seats that nobody else has."""
        return self.seats - self.lendable

    def enqueue(self, hand: Sequence[int], request: Waiting) -> str:
        """Puts a request where it waits least; answers why it cannot wait, in Kubernetes' words, or nothing."""
        shape = self.shape
        if not shape.queues:
            if self.in_use + self.waiting_width + request.width > self.seats:
                return "concurrency-limit"
            hand = (0,)
        index = min(hand, key=self._width_of)
        queue = self._queues.get(index)
        if queue is None:
            queue = self._queues[index] = Queue(start=self.virtual)
        elif shape.queues and len(queue.waiting) >= shape.queue_length:
            return "queue-full"
        queue.waiting.append(request)
        queue.width += request.width
        self.waiting += 1
        self.waiting_width += request.width
        return ""

    def _width_of(self, index: int) -> int:
        queue = self._queues.get(index)
        return queue.width if queue is not None else 0

    def vacancy(self, hand: Sequence[int]) -> int | None:
        """The queue of a flow that has had no more than its part and waits for nothing: what it asks for would be next in any case."""
        if not self.shape.queues:
            return None
        index = min(hand, key=self._width_of)
        queue = self._queues.get(index)
        return index if queue is None or (not queue.waiting and queue.start <= self.virtual) else None

    def begin(self, index: int, width: int) -> None:
        """A request begins that has not waited."""
        queue = self._queues.get(index)
        if queue is None:
            queue = self._queues[index] = Queue(start=self.virtual)
        queue.start = max(queue.start, self.virtual) + width * GUESSED_SECONDS
        queue.executing += 1
        queue.in_use += width

    def next_index(self) -> int | None:
        """The queue whose turn it is: whose next request would end first in virtual time."""
        best, best_end = None, 0.0
        for index, queue in self._queues.items():
            if queue.waiting:
                end = queue.start + queue.waiting[0].width * GUESSED_SECONDS
                if best is None or end < best_end:
                    best, best_end = index, end
        return best

    def head(self, index: int) -> Waiting:
        return self._queues[index].waiting[0]

    def take(self, index: int) -> Waiting:
        """The first of a queue begins."""
        queue = self._queues[index]
        request = self._pop(queue)
        self.virtual = max(self.virtual, queue.start)
        queue.start += request.width * GUESSED_SECONDS
        queue.executing += 1
        queue.in_use += request.width
        return request

    def ended(self, index: int, width: int, seconds: float) -> None:
        """One that was taken has ended after so long."""
        queue = self._queues.get(index)
        if queue is None:
            return
        queue.executing -= 1
        queue.in_use -= width
        queue.start += width * (seconds - GUESSED_SECONDS)
        self._tidy(index, queue)

    def expired(self, before_seconds: float) -> list[Waiting]:
        """Takes out what has waited since before a moment."""
        found: list[Waiting] = []
        for index, queue in list(self._queues.items()):
            while queue.waiting and queue.waiting[0].since_seconds < before_seconds:
                found.append(self._pop(queue))
            self._tidy(index, queue)
        return found

    def _pop(self, queue: Queue) -> Waiting:
        request = queue.waiting.popleft()
        queue.width -= request.width
        self.waiting -= 1
        self.waiting_width -= request.width
        return request

    def _tidy(self, index: int, queue: Queue) -> None:
        """What it owes is forgotten with its last request, as in Kubernetes."""
        if not queue.waiting and not queue.executing:
            del self._queues[index]


class Seats:
    """How many seats there are, which level has how many, and who may borrow."""

    def __init__(self, total: int, levels: Sequence[Level]) -> None:
        self.total, self.levels = total, list(levels)
        self.in_use = sum(level.in_use for level in levels if not level.is_exempt)
        shares = sum(level.shape.shares for level in levels) or 1
        for level in levels:
            shape = level.shape
            level.seats = -(-total * shape.shares // shares)
            level.lendable = round(level.seats * shape.lendable_percent / 100)
            level.borrowable = float("inf") if shape.borrowing_percent is None else round(level.seats * shape.borrowing_percent / 100)

    def may_take(self, level: Level, width: int) -> bool:
        """Whether there are seats for one more request of a level. What is larger than all that a level has is let in alone."""
        wanted = level.in_use + width
        if wanted <= level.seats:
            # Its own, unless they are lent: then it has them when they come back, but for those that nobody may borrow.
            return wanted <= level.guaranteed or self.in_use + width <= self.total or not level.in_use
        if not level.in_use:
            return True
        if wanted > level.seats + level.borrowable:
            return False
        kept = sum(max(0, other.guaranteed - other.in_use) for other in self.levels if other is not level and not other.is_exempt)
        return self.in_use + width + kept <= self.total
