"""Rules about single quantities. A JSON body cannot carry a malformed one; a protobuf body can."""

from __future__ import annotations

import math

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import quantity
from knarr.machinery.errors import Cause
from knarr.machinery.validation import NOT_NEGATIVE, Path, invalid
from knarr.objects.amounts import exact


def is_whole(value: meta.Quantity) -> bool:
    found = exact(value)
    return found is None or found == found.to_integral_value()


def shown_amount(value: meta.Quantity) -> str:
    """One that was never given is nothing."""
    return value.string or "0"


def check_form(value: meta.Quantity, path: Path) -> list[Cause]:
    """Well formed, be it negative or not."""
    return [invalid(path, value.string, quantity.FORMAT_MESSAGE)] if exact(value) is None else []


def check_amount(value: meta.Quantity, path: Path) -> list[Cause]:
    """Well formed and not negative."""
    found = exact(value)
    if found is None:
        return [invalid(path, value.string, quantity.FORMAT_MESSAGE)]
    return [invalid(path, shown_amount(value), NOT_NEGATIVE)] if found < 0 else []


def check_basic(value: meta.Quantity, path: Path) -> list[Cause]:
    """Not negative, in the words that Kubernetes has beside those of other rules: it shows a whole number, rounded away from nothing."""
    found = exact(value)
    return [invalid(path, math.floor(found), "must be a valid resource quantity")] if found is not None and found < 0 else []


def check_positive(value: meta.Quantity, path: Path) -> list[Cause]:
    """Well formed and more than nothing."""
    found = exact(value)
    if found is None:
        return [invalid(path, value.string, quantity.FORMAT_MESSAGE)]
    return [] if found > 0 else [invalid(path, shown_amount(value), "must be greater than zero")]
