"""AWS fails, is slow, asks to slow down or does not allow it: what the manager hears then."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from services.cloud.errors import ProviderError, Refused, Throttled, Unavailable
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.settings import AwsSettings
from tests.cloud.aws.account import REGION, Account
from tests.cloud.aws.provider import driving, service


class FailingAws:
    """Answers every request with one error, EC2's way or elbv2's; ``requests`` counts."""

    def __init__(self) -> None:
        self.status, self.code, self.headers = 400, "", dict[str, str]()
        self.requests = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner.requests += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                error = f"<Error><Code>{owner.code}</Code><Message>in its words</Message></Error>"
                body = f"<Response><Errors>{error}</Errors></Response>".encode()
                self.send_response(owner.status)
                for name, value in {**owner.headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def failing() -> Iterator[FailingAws]:
    made = FailingAws()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join(5)
    made.server.server_close()


async def heard(url: str, **settings: Any) -> ProviderError:
    """The error of a call to AWS at that URL."""
    api = AwsApi(AwsSettings(**{"region": REGION, "endpoint_url": url, "attempts": 1, **settings}))
    try:
        with pytest.raises(ProviderError) as raised:
            await api.call("ec2:DescribeInstances")
        return raised.value
    finally:
        api.close()


@pytest.mark.parametrize("code", ["Throttling", "RequestLimitExceeded", "TooManyRequestsException"])
async def test_slow_down(failing: FailingAws, one_loader: None, code: str) -> None:
    failing.code, failing.status = code, 503
    error = await heard(failing.url)
    assert isinstance(error, Throttled)
    assert str(error) == "ec2:DescribeInstances: AWS asks to slow down: in its words"
    assert error.retry_after_seconds == 5.0
    for said, wanted in (("30", 30.0), ("0", 1.0), ("1e9", 300.0), ("inf", 300.0), ("nan", 5.0), ("-1", 5.0), ("soon", 5.0)):
        failing.headers = {"Retry-After": said}
        assert (await heard(failing.url)).retry_after_seconds == wanted


async def test_it_is_tried_again_before_it_is_told(failing: FailingAws, one_loader: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    failing.code, failing.status = "Throttling", 400
    assert isinstance(await heard(failing.url, attempts=3), Throttled)
    assert failing.requests == 3


@pytest.mark.parametrize(
    ("code", "status", "kind", "words"),
    [
        ("UnauthorizedOperation", 403, Refused, "give the role of the cloud controller manager this permission"),
        ("AuthFailure", 401, Refused, "AWS does not allow it (AuthFailure)"),
        ("InternalError", 500, Unavailable, "in its words (InternalError)"),
        ("Unavailable", 503, Unavailable, "in its words (Unavailable)"),
        ("DependencyViolation", 400, Unavailable, "in its words (DependencyViolation)"),
        ("VpcIdNotFound", 400, Refused, "ec2:DescribeInstances: in its words (VpcIdNotFound)"),
        ("RulesPerSecurityGroupLimitExceeded", 400, Refused, "in its words (RulesPerSecurityGroupLimitExceeded)"),
    ],
)
async def test_other_errors(failing: FailingAws, one_loader: None, code: str, status: int, kind: type[ProviderError], words: str) -> None:
    failing.code, failing.status = code, status
    error = await heard(failing.url)
    assert type(error) is kind
    assert words in str(error)
    assert str(error).startswith("ec2:DescribeInstances")


async def test_nobody_answers(one_loader: None) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        error = await heard(f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert isinstance(error, Unavailable)
    assert "AWS is not reached" in str(error)


async def test_an_answer_that_does_not_come(one_loader: None) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = await heard(f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout_seconds=0.05)
    assert isinstance(error, Unavailable)
    assert "AWS is not reached" in str(error)


async def test_no_credentials(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = await heard(account.url)
    assert isinstance(error, Refused)
    assert "no AWS credentials are found: give the machine a role, or set AWS_ACCESS_KEY_ID or aws.profile" in str(error)


async def test_no_region_and_no_such_profile(one_loader: None) -> None:
    assert "aws.region: must be set" in str(await heard("http://127.0.0.1:1", region=""))
    assert re.search(r"profile \(nobody\) could not be found", str(await heard("http://127.0.0.1:1", profile="nobody")))


async def test_a_slow_aws_holds_up_nothing_else(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls block their threads, not the loop; what is cancelled is let go of at once."""
    go_on = threading.Event()
    async with driving(account, threads=1) as driver:
        monkeypatch.setattr(driver.provider.api, "_client", lambda service: go_on.wait(10))
        asking = asyncio.create_task(driver.ensure(service()))
        ticks = 0
        for _ in range(100):
            await asyncio.sleep(0)
            ticks += 1
        assert ticks == 100
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        go_on.set()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vpc": "main"}, "vpc: must be an id like vpc-"),
        ({"subnets": ("a",)}, "subnets: must be a list of ids like subnet-"),
        ({"node_security_groups": ("default",)}, "node_security_groups: must be a list of ids like sg-"),
        ({"route_tables": ("main",)}, "route_tables: must be a list of ids like rtb-"),
        ({"endpoint_url": "localhost:5000"}, "endpoint_url: must begin with http:// or https://"),
        ({"tags": {"aws:name": "x"}}, "tags: must not begin with aws:"),
        ({"attempts": 0}, "attempts: must be at least 1"),
        ({"threads": 0}, "threads: must be at least 1"),
        ({"read_timeout_seconds": 0}, "read_timeout_seconds: must be more than 0"),
        ({"refresh_seconds": -1}, "refresh_seconds: must not be negative"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        AwsSettings(**settings)
