"""Resource quantities (``500m``, ``1.5Gi``, ``1e3``): exact values and Kubernetes' canonical form.

A quantity has a value and a notation, which its suffix shows and arithmetic keeps: decimal SI
(``m``, ``k``, ``M`` …), binary SI (``Ki``, ``Mi`` …) or a decimal exponent (``e3``). Values are exact
down to one nano; what is finer is rounded away from zero, and what exceeds 2⁶³-1 is capped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal
from enum import Enum
from functools import lru_cache

FORMAT_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_MESSAGE = "unable to parse quantity's suffix"
# Also bounds what the caches below may hold: what is refused is not remembered.
MAX_LETTERS = 256
LENGTH_MESSAGE = f"quantities must have no more than {MAX_LETTERS} characters"

_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([A-Za-z]*(?:[+-]?[0-9]+)?)", re.ASCII)
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)", re.ASCII)
_DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SUFFIX_OF_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL_SUFFIXES.items()}
_SUFFIX_OF_POWER = {power: suffix for suffix, power in _BINARY_SUFFIXES.items()}
_EXACT = Context(prec=1000, Emax=999_999, Emin=-999_999)
_NANO, _MILLI = Decimal("1e-9"), Decimal("1e-3")
_LARGEST = Decimal(2**63 - 1)


class Notation(Enum):
    """How a quantity is written."""

    DECIMAL = "DecimalSI"
    BINARY = "BinarySI"
    EXPONENT = "DecimalExponent"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with its notation; ``str()`` is the canonical form."""

    value: Decimal
    notation: Notation

    def __str__(self) -> str:
        return _write(self.value, self.notation)

    @property
    def whole(self) -> int:
        """The value in whole units, rounded up."""
        return int(self.value.to_integral_value(ROUND_CEILING, _EXACT))

    def __gt__(self, other: Quantity) -> bool:
        """However the two are written."""
        return self.value > other.value

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(_EXACT.add(self.value, other.value), self.notation if self.value else other.notation)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(_EXACT.subtract(self.value, other.value), self.notation if self.value else other.notation)


@lru_cache(maxsize=8192)
def read(text: str) -> Quantity:
    """Parses a quantity. Raises ValueError in Kubernetes' words."""
    if len(text) > MAX_LETTERS:
        raise ValueError(LENGTH_MESSAGE)
    match = _SHAPE.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError(FORMAT_MESSAGE)
    sign, whole, fraction, suffix = match.groups()
    number = Decimal(f"{sign}{whole or 0}.{fraction or 0}")
    if suffix in _DECIMAL_SUFFIXES:
        value, notation = number.scaleb(_DECIMAL_SUFFIXES[suffix], _EXACT), Notation.DECIMAL
    elif suffix in _BINARY_SUFFIXES:
        value, notation = _EXACT.multiply(number, Decimal(1 << _BINARY_SUFFIXES[suffix])), Notation.BINARY
    else:
        exponent = _EXPONENT.fullmatch(suffix)
        if exponent is None or abs(int(exponent[1])) > 1000:
            raise ValueError(SUFFIX_MESSAGE)
        value, notation = number.scaleb(int(exponent[1]), _EXACT), Notation.EXPONENT
    value = max(-_LARGEST, min(_LARGEST, value))
    return Quantity(value.quantize(_NANO, ROUND_UP, _EXACT), notation)


def parse(text: str) -> Decimal:
    """The exact value. Raises ValueError in Kubernetes' words."""
    return read(text).value


@lru_cache(maxsize=8192)
def canonical(text: str) -> str:
    """The one spelling of a quantity: ``0.5`` → ``500m``, ``1024Mi`` → ``1Gi``, ``1000`` → ``1k``. Raises ValueError."""
    return str(read(text))


@lru_cache(maxsize=8192)
def milli(text: str) -> int:
    """The value in thousandths, rounded up."""
    return int((read(text).value * 1000).to_integral_value(ROUND_CEILING, _EXACT))


@lru_cache(maxsize=8192)
def in_thousandths(text: str) -> str:
    """``text`` itself, or the canonical form of what is finer than a thousandth, rounded away from zero. Malformed text stays."""
    try:
        found = read(text)
    except ValueError:
        return text
    rounded = found.value.quantize(_MILLI, ROUND_UP, _EXACT)
    return text if rounded == found.value else str(Quantity(rounded, found.notation))


@lru_cache(maxsize=8192)
def value(text: str) -> int:
    """The value in whole units, rounded up."""
    return read(text).whole


def add(left: str, right: str) -> str:
    """The canonical sum, in the notation of ``left`` (of ``right`` when ``left`` is zero)."""
    return str(read(left) + read(right))


def subtract(left: str, right: str) -> str:
    """The canonical difference, in the notation of ``left`` (of ``right`` when ``left`` is zero)."""
    return str(read(left) - read(right))


def compare(left: str, right: str) -> int:
    """-1, 0 or 1."""
    one, other = read(left).value, read(right).value
    return (one > other) - (one < other)


def _write(number: Decimal, notation: Notation) -> str:
    whole = number == number.to_integral_value(context=_EXACT)
    if notation is Notation.BINARY and whole and abs(number) >= 1024:
        return _write_binary(int(number))
    return _write_decimal(number, notation)


def _write_binary(number: int) -> str:
    power = 0
    while number % 1024 == 0 and power < 60:
        number, power = number // 1024, power + 10
    return f"{number}{_SUFFIX_OF_POWER.get(power, '')}"


def _write_decimal(number: Decimal, notation: Notation) -> str:
    nanos = int(number.scaleb(9, _EXACT))
    if not nanos:
        return "0"
    exponent = -9
    while nanos % 1000 == 0 and exponent < 18:
        nanos, exponent = nanos // 1000, exponent + 3
    if notation is Notation.EXPONENT:
        return f"{nanos}e{exponent}" if exponent else str(nanos)
    return f"{nanos}{_SUFFIX_OF_EXPONENT[exponent]}"
