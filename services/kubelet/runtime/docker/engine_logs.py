"""What the engine's containers wrote, as the engine's API tells it: where its files are not seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from knarr.service.tasks import cancel
from services.kubelet.runtime.docker.engine import Engine, EngineNotFound
from services.kubelet.runtime.docker.log_pieces import FramedPieces, Lines, Piece, RawPieces, start_of_tail
from services.kubelet.runtime.docker.log_resume import Delivered, broken_by
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.port import RUNNING, STDERR, STDOUT, LogOptions, NoSuchContainer, RuntimeFailure

# How many more pieces than lines are looked at first, and how many times more where that was not enough.
MORE_PIECES, GROWTH = 8, 8
# A tail of more lines than this is counted in pieces: each of them is remembered until the first of the tail is found.
MAX_TAIL_LINES = 100_000
# How often in a row a log that broke is asked for anew without a new line, and how far apart.
RESUME_TRIES, RESUME_SECONDS = 10, 0.25
# How long a followed log may be silent before it is asked whether there is more, and how long at most, where there never is.
SILENCE_SECONDS, LONGEST_SILENCE_SECONDS = 2.0, 64.0
# One that came in a rush is asked about sooner: what is not read in time is rotated away.
RUSH_BYTES, RUSH_SILENCE_SECONDS = 1 << 20, 0.1

Params = dict[str, str | int]


class LogBroken(RuntimeFailure):
    """The engine lost its place in a log; the message is its own."""


class EngineLogs:
    """Streams output. ``observer.ttys`` tells whose output is one raw stream instead of frames."""

    def __init__(self, engine: Engine, observer: EngineObserver) -> None:
        self._engine = engine
        self._observer = observer

    async def read(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """As ``Runtime.logs``."""
        params, skipped = _params(options), 0
        if options.tail_lines is not None and 0 < options.tail_lines <= MAX_TAIL_LINES:
            start, skipped = await self._tail(container_id, options, options.tail_lines)
            params |= start
        lines = Lines(stamps=options.timestamps)
        async with aclosing(self._unbroken(container_id, params)) as stream:  # type: ignore[type-var]
            async for pieces in stream:
                found, skipped = pieces[skipped:], max(skipped - len(pieces), 0)
                if data := lines.join(found):
                    yield data

    async def _tail(self, container_id: str, options: LogOptions, lines: int) -> tuple[Params, int]:
        """Where the last lines begin: what to ask for, and how many pieces of the answer come before them."""
        asked = lines + MORE_PIECES
        while True:
            params = _params(replace(options, follow=False, tail_lines=asked))
            pieces = [_mark(piece) async for group in self._pieces(container_id, params) for piece in group]
            start = start_of_tail(pieces, lines, complete=len(pieces) < asked)
            if start is None:
                asked *= GROWTH
                continue
            if start >= len(pieces):
                return {}, 0
            since = min(piece.stamp for piece in pieces[start:])
            before = [piece.stamp >= since for piece in pieces[:start]]
            if len(pieces) == asked and all(before):
                asked *= GROWTH
                continue
            # More may be written meanwhile: the lines are found again by their time, not by their number. The engine stamps each stream
            # by itself and may write a later stamp first: neither is the first line the earliest, nor are all before it earlier.
            return {"tail": "all", "since": _seconds(since)}, sum(before)

    async def _unbroken(self, container_id: str, params: Params) -> AsyncIterator[list[Piece]]:
        """Goes on where the engine lost its place, or ended the log of a container that runs. RuntimeFailure where it gets no further."""
        delivered, tries = Delivered(), 0
        while True:
            since, broken = delivered.resume(), None
            asked = params | {"tail": "all", "since": _seconds(since)} if since else params
            try:
                async with aclosing(self._flowing(container_id, asked, delivered)) as stream:  # type: ignore[type-var]
                    async for pieces in stream:
                        if found := delivered.take(pieces):
                            tries = 0
                            yield found
            except LogBroken as error:
                broken = error
            except NoSuchContainer:
                if since:
                    # Removed after what was read of it.
                    return
                raise
            if broken is None and not (params["follow"] and self._observer.state(container_id) == RUNNING):
                return
            tries += 1
            if broken is not None and tries > RESUME_TRIES:
                raise broken
            await asyncio.sleep(RESUME_SECONDS if tries > 1 else 0)

    async def _flowing(self, container_id: str, params: Params, delivered: Delivered) -> AsyncIterator[list[Piece]]:
        """As ``_pieces``. LogBroken, too, where one that is followed stays silent though more was written: seen twice, as it may come."""
        patience, was_behind, read = SILENCE_SECONDS if params["follow"] else None, False, 0
        async with aclosing(self._pieces(container_id, params)) as stream:  # type: ignore[type-var]
            while True:
                coming = asyncio.ensure_future(anext(stream, None))
                try:
                    while not (await asyncio.wait({coming}, timeout=patience))[0]:
                        is_behind = await self._has_newer(container_id, params, delivered)
                        if was_behind and is_behind and not coming.done():
                            raise LogBroken("its log is written, and nothing of it comes")
                        was_behind = is_behind
                        patience, read = patience if is_behind else min(2 * (patience or 0), LONGEST_SILENCE_SECONDS), 0
                    pieces = coming.result()
                finally:
                    await cancel([coming])
                if pieces is None:
                    return
                yield pieces
                read += sum(len(piece.data) for piece in pieces)
                patience = patience and (RUSH_SILENCE_SECONDS if read > RUSH_BYTES else SILENCE_SECONDS)
                was_behind = False

    async def _has_newer(self, container_id: str, params: Params, delivered: Delivered) -> bool:
        """Whether the engine has a line of what is asked for that was not passed on."""
        asked = {"stdout": params["stdout"], "stderr": params["stderr"], "follow": 0, "timestamps": 1, "tail": 1}
        found = [piece async for pieces in self._pieces(container_id, asked) for piece in pieces]
        return any(piece.stamp > delivered.newest for piece in found)

    async def _pieces(self, container_id: str, params: Params) -> AsyncIterator[list[Piece]]:
        """What the engine gives. Raises LogBroken after what came before that."""
        cutter = RawPieces() if container_id in self._observer.ttys else FramedPieces()
        try:
            async with self._engine.stream("GET", f"containers/{container_id}/logs", params=params) as chunks:
                async for chunk in chunks:
                    pieces = cutter.feed(chunk)
                    failed = next((at for at, piece in enumerate(pieces) if broken_by(piece)), None)
                    yield pieces[:failed]
                    if failed is not None:
                        raise LogBroken(broken_by(pieces[failed]))
            yield cutter.finish()
        except EngineNotFound as error:
            raise NoSuchContainer(str(error)) from error


def _params(options: LogOptions) -> Params:
    # The stamps tell which pieces are of one line.
    wanted = {"stdout": int(options.stream != STDERR), "stderr": int(options.stream != STDOUT)}
    params: Params = {**wanted, "follow": int(options.follow), "timestamps": 1}
    params["tail"] = "all" if options.tail_lines is None else options.tail_lines
    if options.since is not None:
        params["since"] = f"{options.since.timestamp():.9f}"
    return params


def _mark(piece: Piece) -> Piece:
    """A piece without its data, but for what tells whether it ends a line."""
    return piece if not piece.whole else Piece(piece.stream, piece.stamp, b"\n")


def _seconds(stamp: bytes) -> str:
    """A stamp as the engine takes it back, to the nanosecond."""
    text = stamp.decode()
    return f"{int(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp())}.{text[20:29]}"
