"""A moto server of one's own on loopback, and a guard: nothing in these tests asks any other host."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest

from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.settings import AwsSettings
from tests.cloud.aws.account import REGION, Account

START_SECONDS = 30.0


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a moto server process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its hundreds of images are of no interest, and are read anew for each test.
            env={**os.environ, "PYTHONWARNINGS": "ignore", "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},
        )
    try:
        _wait_for(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        # It has nothing to lose, and would wait for connections that are kept alive.
        process.kill()
        process.wait(5)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the moto server does not answer:\n{log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fails the test that asks for another host than loopback, and gives it credentials that are none."""
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def guarded(host: Any, *arguments: Any, **named: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", None):
            asked.append(str(host))
            raise OSError(f"this test may not ask {host}")
        return resolve(host, *arguments, **named)

    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    yield asked
    assert not asked, f"other hosts were asked for: {asked}"


@pytest.fixture(scope="session")
def one_loader() -> Iterator[None]:
    """botocore reads its description of AWS, which takes most of the time of making a client, once for all tests."""
    make = botocore.loaders.create_loader
    botocore.loaders.create_loader = functools.cache(make)
    yield
    botocore.loaders.create_loader = make


@pytest.fixture(scope="session")
def one_account(moto_server: str, one_loader: None) -> Iterator[Account]:
    made = Account(moto_server)
    yield made
    made.close()


@pytest.fixture
def account(one_account: Account) -> Account:
    """An account with nothing but a network of two zones and a node in each."""
    one_account.furnish()
    return one_account


@pytest.fixture
def api(account: Account) -> Iterator[AwsApi]:
    """A way to the account that several providers use one after the other: making one takes long."""
    made = AwsApi(AwsSettings(region=REGION, endpoint_url=account.url))
    yield made
    made.close()
