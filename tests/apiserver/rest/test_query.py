"""Query parameters, as Kubernetes reads them."""

from __future__ import annotations

import pytest

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from services.apiserver.rest import query as queries
from services.apiserver.rest.query import Query


def test_list_options() -> None:
    text = b"watch=1&resourceVersion=7&limit=500&labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&allowWatchBookmarks=true&continue=t"
    options = queries.list_options(Query(text + b"&timeoutSeconds=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"))
    assert options == meta.ListOptions(
        watch=True, resource_version="7", limit=500, label_selector="a=b", field_selector="metadata.name=x", allow_watch_bookmarks=True,
        continue_token="t", timeout_seconds=0, send_initial_events=True, resource_version_match="NotOlderThan",
    )  # fmt: skip
    assert options.HasField("timeout_seconds")
    assert not queries.list_options(Query(b"")).HasField("send_initial_events")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"", False), (b"watch", True), (b"watch=", True), (b"watch=0", False), (b"watch=FALSE", False), (b"watch=yes", True)],
)
def test_flags(text: bytes, expected: bool) -> None:
    assert Query(text).flag("watch") is expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("1.5", 'strconv.ParseInt: parsing "1.5": invalid syntax'),
        ("9223372036854775808", 'strconv.ParseInt: parsing "9223372036854775808": value out of range'),
    ],
)
def test_bad_integers(value: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        queries.list_options(Query(f"limit={value}".encode()))
    assert (caught.value.code, str(caught.value)) == (400, message)


def test_durations() -> None:
    assert [Query(f"timeout={text}".encode()).seconds("timeout") for text in ("", "1m30s", "250ms", "0")] == [None, 90, 0.25, 0]
    for text in ("bad", "5"):
        with pytest.raises(StatusError, match="invalid timeout specified in the request URL - time: ") as caught:
            Query(f"timeout={text}".encode()).seconds("timeout")
        assert caught.value.code == 400


def test_unsupported_values_are_invalid() -> None:
    with pytest.raises(StatusError) as caught:
        queries.create_options(Query(b"fieldValidation=Maybe"))
    assert caught.value.code == 422
    supported = 'supported values: "", "Ignore", "Strict", "Warn"'
    assert str(caught.value) == f'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe": {supported}'
    with pytest.raises(StatusError) as caught:
        queries.patch_options(Query(b"dryRun=Some"))
    assert str(caught.value) == 'PatchOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'


def test_write_options() -> None:
    options = queries.patch_options(Query(b"dryRun=All&fieldManager=me&force=true"))
    assert options == meta.PatchOptions(dry_run=["All"], field_manager="me", field_validation="Warn", force=True)


def test_writes_without_parameters_are_told_what_they_would_be_told_with_others() -> None:
    assert queries.create_options(Query(b"")) == queries.create_options(Query(b"pretty")) == meta.CreateOptions(field_validation="Warn")
    assert queries.update_options(Query(b"")) == queries.update_options(Query(b"pretty")) == meta.UpdateOptions(field_validation="Warn")


def test_delete_options_come_from_the_body_or_the_query() -> None:
    query = Query(b"gracePeriodSeconds=0&propagationPolicy=Orphan")
    assert queries.delete_options(query, None) == meta.DeleteOptions(grace_period_seconds=0, propagation_policy="Orphan")
    assert queries.delete_options(query, meta.DeleteOptions(propagation_policy="Background")).propagation_policy == "Background"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-01-02T15:04:05Z", ""),
        ("2026-01-02T15:04:05.123456789%2B02:00", ""),
        ("abc", 'parsing time "abc" as "2006-01-02T15:04:05Z07:00": cannot parse "abc" as "2006"'),
        ("2026-01-02", 'parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'),
        ("2026-01-02T15:04:05", 'parsing time "2026-01-02T15:04:05" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"'),
        ("2026-01-02T15:04:05Zx", 'parsing time "2026-01-02T15:04:05Zx": extra text: "x"'),
    ],
)
def test_a_time_is_refused_in_gos_words(text: str, words: str) -> None:
    query = Query(f"sinceTime={text}".encode())
    if not words:
        assert query.moment("sinceTime") == text.replace("%2B", "+")
        return
    with pytest.raises(StatusError) as caught:
        query.moment("sinceTime")
    assert (caught.value.code, caught.value.status.message) == (400, words)


def test_no_time_is_none() -> None:
    assert [Query(text).moment("sinceTime") for text in (b"", b"sinceTime=", b"sinceTime=null")] == ["", "", ""]
