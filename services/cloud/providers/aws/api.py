"""The calls to AWS, by their names in IAM: ``ec2:DescribeInstances``.

boto3 blocks, so calls run in a few threads. A call that its caller gives up on ends in its thread, within the timeouts of the settings;
what it made is found by the next observation.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from services.cloud.providers.aws.failures import error_code, explained
from services.cloud.providers.aws.settings import AwsSettings

T = TypeVar("T")

# The service in IAM → boto3's name for it.
CLIENTS = {"ec2": "ec2", "elasticloadbalancing": "elbv2"}


class Absent(Exception):
    """What a call asked for is not there."""


class AwsApi:
    """Calls to AWS for one provider. ``calls`` counts them by action, pages singly, retries not."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="aws")
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()
        self.calls: Counter[str] = Counter()

    async def region(self) -> str:
        """The region of all calls; ``Refused`` when none is known."""
        region: str = await self._in_thread("ec2:DescribeRegions", lambda: self._client("ec2").meta.region_name, ())
        return region

    async def call(self, action: str, /, absent: Iterable[str] = (), **parameters: Any) -> dict[str, Any]:
        """The answer to one call; errors are a ``ProviderError``, those with a code of ``absent`` are ``Absent``."""
        service, _, operation = action.partition(":")

        def work() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self._client(service), xform_name(operation))(**parameters)
            return answer

        return await self._in_thread(action, work, absent)

    async def pages(self, action: str, key: str, /, absent: Iterable[str] = (), **parameters: Any) -> list[dict[str, Any]]:
        """All items under ``key`` of all pages of the answer."""
        service, _, operation = action.partition(":")

        def work() -> list[dict[str, Any]]:
            paginator = self._client(service).get_paginator(xform_name(operation))
            return [item for page in paginator.paginate(**parameters) for item in page[key]]

        return await self._in_thread(action, work, absent)

    def close(self) -> None:
        """Lets go of the connections; calls under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    async def _in_thread(self, action: str, work: Callable[[], T], absent: Iterable[str]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (BotoCoreError, ClientError) as error:
            if error_code(error) in absent:
                raise Absent(str(error)) from error
            raise explained(action, error) from error

    def _client(self, service: str) -> Any:
        # boto3's sessions are not for several threads; its clients are.
        with self._making:
            if service not in self._clients:
                self._clients[service] = self._make_client(service)
            return self._clients[service]

    def _make_client(self, service: str) -> Any:
        settings = self._settings
        if self._session is None:
            self._session = boto3.Session(profile_name=settings.profile or None, region_name=settings.region or None)
        if self._session.region_name is None:
            raise NoRegionError
        config = Config(
            connect_timeout=settings.connect_timeout_seconds,
            read_timeout=settings.read_timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": settings.attempts},
            max_pool_connections=settings.threads,
        )
        trusted = authorities(os.environ)
        client = self._session.client(CLIENTS[service], endpoint_url=settings.endpoint_url or None, config=config, verify=trusted)
        client.meta.events.register("before-call", lambda model, **_: self._count(f"{service}:{model.name}"))
        return client

    def _count(self, action: str) -> None:
        with self._making:
            self.calls[action] += 1


def authorities(environment: Mapping[str, str]) -> str | None:
    """The file of the authorities to trust, where the environment names one as everything else here takes it. AWS' own names for it go
    before, which botocore reads itself: None leaves it to that."""
    if any(environment.get(name) for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")):
        return None
    return environment.get("SSL_CERT_FILE") or None


def portions(items: Iterable[T], size: int) -> Iterable[Sequence[T]]:
    """``items`` in lists of at most ``size``, for calls that take no more at once."""
    rest = iter(items)
    while portion := list(islice(rest, size)):
        yield portion
