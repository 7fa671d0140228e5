"""Numbers that are cheap to raise are shown as prometheus_client shows its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest

from knarr.service import tally
from knarr.service.tally import Counts, Timings

BOUNDS = (0.001, 0.5, 10)
OBSERVED = (0.0005, 0.001, 0.2, 11.0)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    monkeypatch.setattr(tally, "REGISTRY", registry)
    yield registry


def shown(registry: CollectorRegistry) -> list[str]:
    """The lines without the times at which numbers began."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_counts_are_shown_as_a_counter(ours: CollectorRegistry) -> None:
    theirs = CollectorRegistry()
    counts, counter = (
        Counts("asked_total", "How often.", ["verb", "code"]),
        Counter("asked_total", "How often.", ["verb", "code"], registry=theirs),
    )
    for code in (200, 200, 404):
        counts.of("get", code).inc()
        counter.labels("get", code).inc()
    assert shown(ours) == shown(theirs)


def test_timings_are_shown_as_a_histogram(ours: CollectorRegistry) -> None:
    theirs = CollectorRegistry()
    timings, histogram = (
        Timings("took_seconds", "How long.", ["verb"], BOUNDS),
        Histogram("took_seconds", "How long.", ["verb"], buckets=BOUNDS, registry=theirs),
    )
    for seconds in OBSERVED:
        timings.of("get").observe(seconds)
        histogram.labels("get").observe(seconds)
    assert shown(ours) == shown(theirs)


def test_what_is_gone_is_shown_no_more(ours: CollectorRegistry) -> None:
    counts, timings = Counts("asked_total", "How often.", ["verb", "code"]), Timings("took_seconds", "How long.", ["verb"], BOUNDS)
    for verb in ("get", "list"):
        counts.of(verb, 200).inc()
        timings.of(verb).observe(0.1)
    for found in (counts, timings):
        found.forget("verb", "get")
    assert not any('"get"' in line for line in shown(ours)) and any('"list"' in line for line in shown(ours))


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("knarr_apiserver_requests_total", "Once more.", registry=REGISTRY)
