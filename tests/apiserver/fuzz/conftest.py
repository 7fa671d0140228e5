"""A whole API server in memory, and what asks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.apiserver.admission.catalog import PLUGINS
from services.apiserver.admission.mutating_admission_webhook.plugin import MutatingAdmissionWebhook
from services.apiserver.admission.validating_admission_webhook.plugin import ValidatingAdmissionWebhook
from tests.apiserver.fuzz.routes import Fuzzer
from tests.apiserver.rest.live import LiveServer, running_server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long runs are for who asks for them."""
    if "fuzz" not in config.getoption("markexpr"):
        for item in items:
            if "fuzz" in item.keywords and item.get_closest_marker("fuzz"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: pytest -m fuzz"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    # Webhooks are configured by what is tried, and none of them is there.
    plugins = [make for make in PLUGINS if make not in (MutatingAdmissionWebhook, ValidatingAdmissionWebhook)]
    with running_server(tmp_path_factory.mktemp("fuzzed"), in_memory=True, plugins=plugins) as server:
        yield server


@pytest.fixture
def fuzzer(server: LiveServer) -> Iterator[Fuzzer]:
    fuzzer = Fuzzer(server)
    yield fuzzer
    fuzzer.close()
