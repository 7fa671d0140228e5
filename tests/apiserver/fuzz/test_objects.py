"""Objects that a server takes, with one value removed or replaced, written in every way: refused perhaps, never a failure."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from tests.apiserver.fuzz.routes import Fuzzer
from tests.peer.objects import collection_of, inputs, variation

JSON, MERGE, STRATEGIC = "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json"
VARIATIONS, LONG_VARIATIONS = 3, 100


def test_a_few_variations(fuzzer: Fuzzer) -> None:
    vary(fuzzer, seed=1, count=VARIATIONS)
    assert not fuzzer.failures, "\n".join(fuzzer.failures)
    assert {200, 201, 400, 404, 409, 422} <= fuzzer.codes.keys()


@pytest.mark.fuzz
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_variations(fuzzer: Fuzzer, seed: int) -> None:
    vary(fuzzer, seed=seed, count=LONG_VARIATIONS)
    assert not fuzzer.failures, "\n".join(fuzzer.failures)


def vary(fuzzer: Fuzzer, *, seed: int, count: int) -> None:
    """Stores each object of the scenarios as far as it is taken, and tries variations of it and of what was stored."""
    rng = random.Random(seed)
    for _, obj in inputs():
        try:
            collection = collection_of(obj)
        except KeyError:
            continue
        code, answer = fuzzer.send("POST", collection, text(obj), JSON)
        stored = json.loads(answer) if code == 201 else None
        for _ in range(count):
            fuzzer.send("POST", f"{collection}?dryRun=All", text(variation(obj, rng)[1]), JSON)
            if stored is not None and stored["metadata"].get("name"):
                rewrite(fuzzer, f"{collection}/{quote(stored['metadata']['name'], safe='')}", variation(stored, rng)[1])


def rewrite(fuzzer: Fuzzer, path: str, changed: dict[str, Any]) -> None:
    if isinstance(changed.get("metadata"), dict):
        changed["metadata"].pop("resourceVersion", None)
    for method, place, content_type in (("PUT", "", JSON), ("PUT", "/status", JSON), ("PATCH", "", MERGE), ("PATCH", "", STRATEGIC)):
        fuzzer.send(method, f"{path}{place}?dryRun=All", text(changed), content_type)


def text(obj: dict[str, Any]) -> bytes:
    return json.dumps(obj).encode()
