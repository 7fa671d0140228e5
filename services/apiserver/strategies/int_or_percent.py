"""Rules about numbers that may be percentages instead."""

from __future__ import annotations

import re

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_format, check_not_negative, invalid, percent
from knarr.objects.int_or_string import is_text, plain

# More digits than these Kubernetes takes for no number.
_DIGITS = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)


def check_count_or_percent(value: meta.IntOrString, path: Path) -> list[Cause]:
    """A number that is not negative, or a percentage."""
    if is_text(value):
        return check_format(path, value.str_val, percent)
    return check_not_negative(path, value.int_val)


def check_part(value: meta.IntOrString, path: Path) -> list[Cause]:
    """No percentage above the whole."""
    too_much = is_text(value) and not percent(value.str_val) and number_of(value) > 100
    return [invalid(path, plain(value), "must not be greater than 100%")] if too_much else []


def number_of(value: meta.IntOrString) -> int:
    """The number, or that before the percent sign; a string that is none, ``5`` for one, is a number too, and 0 where it is not."""
    if not is_text(value):
        return int(value.int_val)
    digits = value.str_val.removesuffix("%")
    return int(digits) if _DIGITS.fullmatch(digits) else 0
