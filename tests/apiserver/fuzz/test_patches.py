"""Patches and messages that no client would write: refused perhaps, never a failure, and quickly either way."""

from __future__ import annotations

import json
import random
import time
from urllib.parse import quote

import pytest

from tests.apiserver.fuzz import patches
from tests.apiserver.fuzz.routes import Fuzzer
from tests.peer.objects import collection_of, inputs

PROTOBUF = "application/vnd.kubernetes.protobuf"
TRIES, LONG_TRIES = 4, 300
# An answer that takes more of the processor has been thought about too long: the largest objects of the scenarios take some milliseconds.
LONGEST_SECONDS = 10.0


def test_a_few_patches(fuzzer: Fuzzer) -> None:
    patch(fuzzer, seed=1, tries=TRIES)
    assert not fuzzer.failures, "\n".join(fuzzer.failures)
    assert {200, 400, 422} <= fuzzer.codes.keys()


@pytest.mark.fuzz
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", range(2, 5))
def test_many_patches(fuzzer: Fuzzer, seed: int) -> None:
    patch(fuzzer, seed=seed, tries=LONG_TRIES)
    assert not fuzzer.failures, "\n".join(fuzzer.failures)


def patch(fuzzer: Fuzzer, *, seed: int, tries: int) -> None:
    """Stores each object of the scenarios as far as it is taken, and writes to it in every way."""
    rng, kinds = random.Random(seed), set[str]()
    for name, obj in inputs():
        if name.startswith("refused") or (obj["kind"] in kinds and rng.random() < 0.7):
            continue
        try:
            collection = collection_of(obj)
        except KeyError:
            continue
        code, answer = fuzzer.send("POST", collection, patches.text(obj), patches.JSON)
        if code != 201:
            continue
        kinds.add(obj["kind"])
        stored = json.loads(answer)
        if not stored["metadata"].get("name"):
            continue
        path = f"{collection}/{quote(stored['metadata']['name'], safe='')}"
        code, message = fuzzer.send("GET", path, None, "", PROTOBUF)
        for _ in range(tries):
            _try(fuzzer, path, stored, rng)
            if code == 200:
                _timed(fuzzer, "PUT", path, patches.torn(message, rng), PROTOBUF)
        fuzzer.send("DELETE", path, None, "")


def _try(fuzzer: Fuzzer, path: str, stored: patches.Json, rng: random.Random) -> None:
    for method, content_type, make in patches.MAKERS:
        manager = "&fieldManager=me&force=true" if content_type == patches.APPLY else ""
        place = rng.choice(["", "", "", "/status", "/scale"])
        dry = rng.choice(["dryRun=All", "dryRun=All", "fieldValidation=Strict"])
        _timed(fuzzer, method, f"{path}{place}?{dry}{manager}", patches.text(make(stored, rng)), content_type)


def _timed(fuzzer: Fuzzer, method: str, path: str, body: bytes, content_type: str) -> None:
    # The server is in this process; how busy the machine is, is not asked.
    began = time.process_time()
    fuzzer.send(method, path, body, content_type)
    took = time.process_time() - began
    if took > LONGEST_SECONDS:
        fuzzer.failures.append(f"{took:.1f} s {method} {path} ({content_type}) {body!r}")
