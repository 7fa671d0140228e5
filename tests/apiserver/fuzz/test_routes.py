"""Every route of the API, asked with what its own OpenAPI allows and a little more: the server may refuse, but never fails."""

from __future__ import annotations

import pytest

from tests.apiserver.fuzz.routes import Fuzzer

# A part of the operations, another for each seed; all of them, with more examples, by the marker.
SEED, EXAMPLES, PART = 1, 2, 0.15
LONG_SEEDS, LONG_EXAMPLES = range(2, 6), 20


def test_a_part_of_the_routes(fuzzer: Fuzzer) -> None:
    sent = sum(fuzzer.try_each(document, SEED, EXAMPLES, PART) for document in fuzzer.documents())
    assert not fuzzer.failures, "\n".join(fuzzer.failures)
    # Requests come through: some are granted, some found wrong in what they carry, some in how they ask.
    assert sent > 100 and {200, 201, 400, 404, 406, 422} <= fuzzer.codes.keys(), fuzzer.codes


@pytest.mark.fuzz
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_every_route(fuzzer: Fuzzer, seed: int) -> None:
    for document in fuzzer.documents():
        fuzzer.try_each(document, seed, LONG_EXAMPLES)
    assert not fuzzer.failures, "\n".join(fuzzer.failures)
