"""Names as Kubernetes generates them: readable alphabets without vowels."""

from __future__ import annotations

import random

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MAX_BASE = 63 - 5


def generated(base: str) -> str:
    """``base`` and five random characters; a base that is too long is cut."""
    return base[:_MAX_BASE] + "".join(random.choices(ALPHABET, k=5))


def encoded(number: int) -> str:
    """A number's decimal digits in that alphabet: the look of a pod-template-hash."""
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(number))
