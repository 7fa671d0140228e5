"""Both servers, and the peer's schema, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peer.comparison import Explained, Schema
from tests.peer.peers import Ask, Peers, running_peers


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    with running_peers(tmp_path_factory.mktemp("peers")) as found:
        yield found


@pytest.fixture(scope="session")
def schema(peers: Peers) -> Schema:
    return Schema(peers.theirs.ask(Ask("GET", "/openapi/v2")).body["definitions"])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-idle-explanations", action="store_true", help="fail at the end where an entry of explained.yaml explained nothing"
    )


@pytest.fixture(scope="session")
def explained(request: pytest.FixtureRequest) -> Iterator[Explained]:
    found = Explained(Path(__file__).with_name("explained.yaml"))
    yield found
    if request.config.getoption("--no-idle-explanations", default=False):
        assert not found.unused(), "these explain no difference any more:\n" + "\n".join(found.unused())
