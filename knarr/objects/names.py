"""Generated names: one alphabet, without vowels so that it spells no word, and one law of length; and uids."""

from __future__ import annotations

import random

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
RANDOM_LENGTH = 5
# A generated name is a DNS label, whatever its base: what a pod is named must serve as its host name.
LONGEST_BASE = 63 - RANDOM_LENGTH
_SOURCE = random.Random()
# Of the bits of a random UUID six are not random (RFC 9562, 5.4).
_RANDOM_BITS, _VERSION_4 = ~(0xF000 << 64 | 0xC000 << 48), 0x4000 << 64 | 0x8000 << 48


def repeat(seed: int) -> None:
    """What this process makes without a source of its own is from now on the same as each time with this seed: for simulations."""
    _SOURCE.seed(seed)


def generated(base: str, source: random.Random = _SOURCE) -> str:
    """``base`` and five random characters; a base that is too long is cut."""
    return base[:LONGEST_BASE] + "".join(source.choices(ALPHABET, k=RANDOM_LENGTH))


def new_uid(source: random.Random = _SOURCE) -> str:
    """A random UUID as text, which ``uuid`` makes in three times the time: each object that is created has one."""
    text = f"{source.getrandbits(128) & _RANDOM_BITS | _VERSION_4:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def encoded(number: int) -> str:
    """A number's decimal digits in that alphabet: the look of a pod-template-hash."""
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(number))
