"""One plugin in another process: its calls, each within its time, and its failures in Kubernetes' words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from knarr.api.scheduler.v1 import plugin_pb2 as api
from knarr.api.scheduler.v1.plugin_pb2_grpc import SchedulerPluginServiceStub
from knarr.client.backoff import Backoff
from knarr.client.bearer import BearerChannel
from knarr.client.channel import FOREIGN_PING_SECONDS, client_options, open_plain_channel, open_secure_channel
from services.scheduler.advice import Refusal
from services.scheduler.node_table import NodeTable
from services.scheduler.plugin import MAX_SCORE
from services.scheduler.pod_facts import PodFacts
from services.scheduler.remote.told import Told
from services.scheduler.remote_plugin import RemoteFailed, SchedulerPluginServiceArgs

logger = logging.getLogger(__name__)

# Of an answer, and of the words in it that are told to others.
MAX_BYTES, MAX_LETTERS = 16 * 1024 * 1024, 512
# One that was not reached is not asked at all for a while: others wait for each answer.
PAUSE = Backoff(1.0, 30.0)
FILTER, SCORE, RESERVE, PRE_BIND = "filter plugin", "Score plugin", "Reserve plugin", "PreBind plugin"
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Forgotten(Exception):
    """The plugin does not have the view that it was asked about."""


class Peer:
    """Made inside the loop. ``table`` is what it is told of."""

    def __init__(self, name: str, args: SchedulerPluginServiceArgs, table: NodeTable, now: Callable[[], float]) -> None:
        self.name, self.args = name, args
        self._table, self._now = table, now
        self._channel: grpc.aio.Channel | None = None
        self._info: api.GetInfoResponse | None = None
        self._told: Told | None = None
        # One call of a session at a time.
        self._turn = asyncio.Lock()
        self._calls: SchedulerPluginServiceStub | None = None
        self._failures, self._away_until, self._away = 0, 0.0, ""

    async def close(self) -> None:
        self._forget()
        if self._channel is not None:
            await self._channel.close()

    async def filter(self, pod: PodFacts, names: Sequence[str], without: Sequence[str] = ()) -> Mapping[str, Refusal]:
        """Why nodes will not do, by name; those that are not there will. ``without``: uids of pods that are to be taken for gone."""
        step = FILTER

        def question(told: Told, candidates: Sequence[int]) -> api.FilterRequest:
            return api.FilterRequest(view=told.view, pod=pod.pod, candidates=candidates, without_pods=without)

        answer, told, candidates = await self._about(step, "Filter", question, names)
        asked, found = set(candidates), dict[str, Refusal]()
        for refusal in answer.refusals if answer is not None else ():
            for number in refusal.nodes:
                if number not in asked:
                    raise self._failed(step, f"refuses node {number}, which it was not asked about", answered=True)
                found.setdefault(told.names[number], Refusal(self.name, refusal.reason[:MAX_LETTERS], refusal.unresolvable))
        return found

    async def score(self, pod: PodFacts, names: Sequence[str]) -> Mapping[str, int]:
        """Points by name, 0 to 100; none where it does not score."""
        step = SCORE

        def question(told: Told, candidates: Sequence[int]) -> api.ScoreRequest:
            return api.ScoreRequest(view=told.view, pod=pod.pod, candidates=candidates)

        answer, told, candidates = await self._about(step, "Score", question, names)
        if answer is None:
            return {}
        if len(answer.scores) != len(candidates):
            raise self._failed(step, f"gave {len(answer.scores)} scores for {len(candidates)} nodes", answered=True)
        wrong = next((score for score in answer.scores if not 0 <= score <= MAX_SCORE), None)
        if wrong is not None:
            words = f"invalid score: plugin {self._quoted} returns an invalid score {wrong}, it should in the range of [0, {MAX_SCORE}]"
            raise RemoteFailed(self.name, f"{words} after normalizing", answered=True)
        return {told.names[number]: score for number, score in zip(candidates, answer.scores, strict=True)}

    async def reserve(self, pod: PodFacts, node: str) -> bool:
        """Whether it has set something aside."""
        async with self._turn:
            info = await self._introduced(RESERVE)
            if info.reserve:
                await self._call(RESERVE, "Reserve", api.ReserveRequest(pod=pod.pod, node=node))
            return info.reserve

    async def unreserve(self, pod: PodFacts, node: str) -> None:
        """Has that given back; whether it does is up to it."""
        try:
            await self._call(RESERVE, "Unreserve", api.UnreserveRequest(pod=pod.pod, node=node))
        except RemoteFailed as error:
            told = {"plugin": self.name, "pod": str(pod.key), "error": str(error)}
            logger.warning("a plugin may still hold what it has reserved", extra=told)

    async def pre_bind(self, pod: PodFacts, node: str) -> None:
        """Until the pod can be bound."""
        async with self._turn:
            info = await self._introduced(PRE_BIND)
        if info.pre_bind:
            await self._call(PRE_BIND, "PreBind", api.PreBindRequest(pod=pod.pod, node=node), self.args.pre_bind_timeout)

    async def _about(self, step: str, method: str, question: Callable[[Told, Sequence[int]], Message], names: Sequence[str]) -> Any:
        """An answer about nodes, with what was told and the numbers that were asked about; no answer where it has no such call."""
        async with self._turn:
            for attempt in range(2):
                info = await self._introduced(step)
                if not getattr(info, method.lower()):
                    return None, self._told, ()
                try:
                    told = await self._informed(step, info)
                    candidates = [told.numbers[name] for name in names if name in told.numbers]
                    return await self._call(step, method, question(told, candidates)), told, candidates
                except Forgotten as forgotten:
                    self._forget()
                    if attempt:
                        raise self._failed(step, str(forgotten), answered=True) from None
        raise AssertionError("unreachable")

    async def _introduced(self, step: str) -> api.GetInfoResponse:
        """Who it is, asked once a session."""
        if self._info is None:
            info: api.GetInfoResponse = await self._call(step, "GetInfo", api.GetInfoRequest())
            if info.name != self.name:
                raise self._failed(step, f"the process at {self.args.address} calls itself {info.name[:MAX_LETTERS]!r}")
            self._info = info
        return self._info

    async def _informed(self, step: str, info: api.GetInfoResponse) -> Told:
        """Tells it what is news."""
        if self._told is None:
            self._told = Told(self._table, pods=info.pods)
        told = self._told
        try:
            for part in told.news():
                await self._call(step, "UpdateNodes", part)
        except BaseException:
            # Whether it has got the news is not known.
            self._forget()
            raise
        return told

    def _forget(self) -> None:
        """The next call begins a new session."""
        if self._told is not None:
            self._told.close()
        self._told = self._info = None

    async def _call(self, step: str, method: str, request: Message, seconds: float | None = None) -> Any:
        if self._now() < self._away_until:
            raise self._failed(step, self._away)
        try:
            answer = await getattr(self._stub, method)(request, timeout=self.args.timeout if seconds is None else seconds)
        except grpc.aio.AioRpcError as error:
            raise self._converted(step, error, is_viewing=method in ("UpdateNodes", "Filter", "Score")) from error
        except OSError as error:
            raise self._failed(step, str(error)) from error
        self._failures = 0
        return answer

    def _converted(self, step: str, error: grpc.aio.AioRpcError, *, is_viewing: bool) -> Exception:
        words = f"rpc error: code = {_go_name(error.code())} desc = {(error.details() or '')[:MAX_LETTERS]}"
        if is_viewing and error.code() is grpc.StatusCode.FAILED_PRECONDITION:
            return Forgotten(words)
        if error.code() in AWAY:
            self._failures += 1
            self._away_until, self._away = self._now() + PAUSE.delay(self._failures), words
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._forget()
        return self._failed(step, words, answered=error.code() not in AWAY)

    def _failed(self, step: str, words: str, *, answered: bool = False) -> RemoteFailed:
        # Kubernetes has the words in either order.
        running = f"running {self._quoted} {step}" if step == FILTER else f"running {step} {self._quoted}"
        return RemoteFailed(self.name, f"{running}: {words}", answered=answered)

    @property
    def _quoted(self) -> str:
        return f'"{self.name}"'

    @property
    def _stub(self) -> Any:
        """Opened for the first call. Raises OSError for a file that cannot be read."""
        if self._calls is None:
            self._channel = _open(self.args)
            self._calls = SchedulerPluginServiceStub(self._channel)
        return self._calls


def _open(args: SchedulerPluginServiceArgs) -> grpc.aio.Channel:
    options = [("grpc.max_receive_message_length", MAX_BYTES), ("grpc.max_send_message_length", -1), *client_options(FOREIGN_PING_SECONDS)]
    if args.insecure:
        return open_plain_channel(args.address, options)
    if args.server_name:
        options.append(("grpc.ssl_target_name_override", args.server_name))
    pair = (Path(args.key_file).read_bytes(), Path(args.cert_file).read_bytes()) if args.cert_file else ()
    credentials = grpc.ssl_channel_credentials(Path(args.ca_file).read_bytes(), *pair)
    channel = open_secure_channel(args.address, credentials, options)
    return BearerChannel(channel, Path(args.token_file).read_text().strip()) if args.token_file else channel


def _go_name(code: grpc.StatusCode) -> str:
    return "".join(word.capitalize() for word in code.name.split("_"))
