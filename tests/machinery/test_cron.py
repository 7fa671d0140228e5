"""Schedules become bare numbers, or are refused in Kubernetes' words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from knarr.machinery.cron import InvalidSchedule, Times, parse_schedule, split_zone


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("@weekly", "0 0 * * 0"),
        ("*/20 ?/12 1-3,,2 JAN-mar/2 sat", "0,20,40 0,12 1,2,3 1,3 6"),
        ("50/5 +1 */1 *,3 mon-fri/2", "50,55 1 * * 1,3,5"),
        ("5 4 */10 * ?-9", "5 4 1,11,21,31 * *"),
    ],
)
def test_fields_become_bare_numbers(text: str, fields: str) -> None:
    assert parse_schedule(text) == Times(fields)


@pytest.mark.parametrize(("text", "seconds"), [("@every 1h30m", 5400), ("@every 1500ms", 1), ("@every 1ms", 1), ("@every -5m", 1)])
def test_a_period_is_of_whole_seconds_and_one_at_least(text: str, seconds: int) -> None:
    assert parse_schedule(text) == Times("", timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("@never", "unrecognized descriptor: @never"),
        ("@every day", 'failed to parse duration @every day: time: invalid duration "day"'),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        (", * * * *", 'failed to parse int from ,: strconv.Atoi: parsing ",": invalid syntax'),
        ("*/mon * * * *", 'failed to parse int from mon: strconv.Atoi: parsing "mon": invalid syntax'),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* 24 * * *", "end of range (24) above maximum (23): 24"),
        ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        parse_schedule(text)
    assert str(caught.value) == words


def test_a_zone_is_taken_off() -> None:
    assert split_zone("CRON_TZ=Asia/Tokyo  0 9 * * * ") == ("Asia/Tokyo", "0 9 * * *")
    assert split_zone("TZ=UTC") == ("UTC", "")
    assert split_zone("0 9 * * *") == (None, "0 9 * * *")
