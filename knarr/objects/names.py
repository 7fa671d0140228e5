"""Generated names: one alphabet, without vowels so that it spells no word, and one law of length."""

from __future__ import annotations

import random

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
RANDOM_LENGTH = 5
# A generated name is a DNS label, whatever its base: what a pod is named must serve as its host name.
LONGEST_BASE = 63 - RANDOM_LENGTH
_SOURCE = random.Random()


def generated(base: str, source: random.Random = _SOURCE) -> str:
    """``base`` and five random characters; a base that is too long is cut."""
    return base[:LONGEST_BASE] + "".join(source.choices(ALPHABET, k=RANDOM_LENGTH))


def encoded(number: int) -> str:
    """A number's decimal digits in that alphabet: the look of a pod-template-hash."""
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(number))
