"""Times, durations, numbers or strings, YAML, envelopes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import envelope, forms, times
from knarr.machinery.errors import StatusError
from knarr.machinery.yaml_text import yaml_documents


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"), (1, "1ns"), (1_500, "1.5µs"), (2_000_000, "2ms"), (1_000_000_001, "1.000000001s"), (60 * 10**9, "1m0s"),
        (90 * 10**9, "1m30s"), (3600 * 10**9, "1h0m0s"), (-5_400_500_000_000, "-1h30m0.5s"),
    ],
)  # fmt: skip
def test_known_durations(nanoseconds: int, text: str) -> None:
    assert forms.write_duration(nanoseconds) == text
    assert forms.parse_duration(text) == nanoseconds


@given(st.integers(-(2**63), 2**63 - 1))
def test_durations_survive(nanoseconds: int) -> None:
    assert forms.parse_duration(forms.write_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1s2", "999999999h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        forms.parse_duration(text)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 31)))
def test_micro_times_survive(moment: datetime) -> None:
    time = times.to_micro_time(moment.replace(tzinfo=UTC))
    assert times.to_datetime(time) == moment.replace(tzinfo=UTC)
    if not times.is_zero(time):
        assert meta.MicroTime(**forms.read_micro_time(forms.write_micro_time(time))) == time


def test_times_round_down_to_seconds_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 999_999, timezone(timedelta(hours=2)))
    rounded = times.to_time(moment)
    assert forms.write_time(rounded) == "2026-01-02T01:04:05Z"
    assert times.to_datetime(rounded) == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "",
        "20260101T000000Z",
        "9999-12-31T23:59:59-02:00",
        "0001-01-01T00:00:00+02:00",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="parsing time"):
        forms.read_time(text)


def test_yaml_keeps_timestamps_and_skips_empty_documents() -> None:
    text = "---\n---\na: 2026-01-02T03:04:05Z\nday: 2026-01-02\non: yes\n2: x\nport: 80:81\nmode: 0644\nhalf: 0.5\nis: =\n---\n{}\n"
    assert yaml_documents(text) == [
        {"a": "2026-01-02T03:04:05Z", "day": "2026-01-02", "true": True, "2": "x", "port": "80:81", "mode": 420, "half": 0.5, "is": "="},
        {},
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0777", 511), ("0o777", 511), ("0O17", 15), ("-0777", -511), ("0X1F", 31), ("-0x1F", -31), ("0B11", 3), ("-0b11", -3),
        ("089", 89), ("1_000", 1000), ("0_7", 7), ("1_", 1), ("_1", "_1"), ("1.0", 1), ("1.", 1), ("+.5", 0.5), (".5", 0.5),
        ("1e3", 1000), ("1E+3", 1000), ("1.5e3", 1500), ("e3", "e3"), ("1.5e", "1.5e"), ("1e400", "1e400"), ("1e-400", 0),
        ("9" * 400, "9" * 400), ("0x", "0x"), ("0x1p-2", "0x1p-2"), ("18446744073709551615", 2**64 - 1),
        ("9223372036854775808", 2**63), ("100000000000000000000", 1e20), ("1:30", "1:30"), ("1.2.3", "1.2.3"), ("inf", "inf"),
        ("-0", 0), ("\u0661", "\u0661"), ("y", True), ("N", False), ("oN", "oN"), ("On", True), ("~", None), ("nULL", "nULL"),
        ("<<", "<<"), ("!!str 1", "1"), ("!!int '0x1F'", 31), ("!!float '1'", 1), ("!!null ''", None), ("!!bool 'yes'", True),
        ("!!binary aGVsbG8=", "hello"), ("!!binary 4oI=", "\ufffd\ufffd"), ("!!binary |\n  aGVs\n  bG8=", "hello"), ("!mine 1", "1"),
        ("!!timestamp 2026-01-02", "2026-01-02"), ("!!set {b, c}", {"b": None, "c": None}), ("!mine [1]", [1]),
    ],
)  # fmt: skip
def test_scalars_are_read_as_in_go(text: str, value: object) -> None:
    [document] = yaml_documents(f"a: {text}\n")
    assert document == {"a": value}
    assert type(document["a"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1",
        "!!python/object:os.system []",
        "\ta: b",
        "a: !!int x",
        "a: !!int '1.5'",
        "a: !!binary '***'",
        "a: .inf",
        "a: -.Inf",
        "a: .NaN",
        "~: b",
        "[a]: b",
    ],
)
def test_bad_yaml_is_refused(text: str) -> None:
    with pytest.raises(StatusError, match="error converting YAML to JSON"):
        yaml_documents(text)


def test_envelopes_open_again() -> None:
    raw = core.Pod(metadata=meta.ObjectMeta(name="p", resource_version="1")).SerializeToString()
    unknown = envelope.unwrap(envelope.wrap("v1", "Pod", raw))
    assert (unknown.type_meta.api_version, unknown.type_meta.kind, unknown.raw) == ("v1", "Pod", raw)
    changed = core.Pod.FromString(envelope.with_resource_version(raw, 42))
    assert changed.metadata == meta.ObjectMeta(name="p", resource_version="42")
    with pytest.raises(ValueError, match="k8s"):
        envelope.unwrap(b"{}")


@pytest.mark.parametrize("value", [True, False, None, {}, {"a": "b"}, [], ["1"]])
def test_what_is_no_amount_is_refused_in_words_whatever_was_read_before(value: object) -> None:
    assert [forms.read_quantity(amount) for amount in (0, 1, "1", 1.0)] == [{"string": text} for text in ("0", "1", "1", "1")]
    with pytest.raises(ValueError, match=r"^quantities must match the regular expression"):
        forms.read_quantity(value)
