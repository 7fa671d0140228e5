"""Other users of the machine, who reach the port and may have seen a link or a cookie."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from services.web.api import Api
from services.web.peers import NOBODY, own_users, user_of
from services.web.server import PageServer
from tests.apiserver.rest.live import LiveServer
from tests.web.conftest import Browser, access, followed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells whose a connection is")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_whose_a_connection_is(listening: socket.socket, family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as client:
        client.connect((host, listening.getsockname()[1]))
        accepted, peer = listening.accept()
        with accepted:
            assert user_of(peer, accepted.getsockname()) == os.getuid()
            # Of one that sends and goes, the kernel says that it is root's.
            client.close()
            assert user_of(peer, accepted.getsockname()) == NOBODY


def test_what_is_no_process_of_this_machine_is_not_known(listening: socket.socket) -> None:
    assert user_of(("127.0.0.2", 1), listening.getsockname()) is None


@pytest.mark.parametrize(
    ("environment", "user", "users"),
    [({}, 1000, {0, 1000}), ({"SUDO_UID": "1000"}, 0, {0, 1000}), ({"SUDO_UID": "7"}, 1000, {0, 1000}), ({}, 0, None)],
)
def test_who_may_come(environment: dict[str, str], user: int, users: set[int] | None) -> None:
    assert own_users(environment, user) == users


async def test_a_link_is_nothing_to_other_users(cluster: LiveServer, stranger: Browser) -> None:
    async with Api(access(cluster)) as api, PageServer(api, users=frozenset({os.getuid() + 1})) as page:
        async with stranger.session.get(page.link, allow_redirects=False) as answer:
            assert answer.status == 403 and "Set-Cookie" not in answer.headers
            assert f"user {os.getuid()}" in (await answer.json())["message"]
        await followed(page)
    async with Api(access(cluster)) as api, PageServer(api, users=frozenset({os.getuid()})) as page:
        async with stranger.session.get(page.link, allow_redirects=False) as answer:
            assert answer.status == 303 and "Set-Cookie" in answer.headers
        await followed(page)
