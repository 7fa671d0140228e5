"""``IntOrString``: a number, or a string that is a percentage or a name."""

from __future__ import annotations

import re

from knarr.api.meta.v1 import meta_pb2 as meta

_STRING = 1
_PERCENT = re.compile(r"[0-9]+%", re.ASCII)


def of(value: int | str) -> meta.IntOrString:
    """The message of a number or a string."""
    return meta.IntOrString(type=_STRING, str_val=value) if isinstance(value, str) else meta.IntOrString(int_val=value)


def is_text(value: meta.IntOrString) -> bool:
    """Whether it is a string rather than a number."""
    return bool(value.type == _STRING)


def plain(value: meta.IntOrString) -> int | str:
    """The number or the string."""
    return str(value.str_val) if is_text(value) else int(value.int_val)


def scaled_value(int_or_percent: meta.IntOrString, total: int, round_up: bool) -> int:
    """The number itself, or the percentage of ``total`` rounded up or down. Raises ValueError for another string."""
    if not is_text(int_or_percent):
        return int(int_or_percent.int_val)
    if not _PERCENT.fullmatch(int_or_percent.str_val):
        raise ValueError(f'invalid value for IntOrString: invalid type: string is not a percentage: "{int_or_percent.str_val}"')
    hundredths = int(int_or_percent.str_val[:-1]) * total
    return -(-hundredths // 100) if round_up else hundredths // 100
