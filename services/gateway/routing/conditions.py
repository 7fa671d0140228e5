"""What a request must have besides its host and path. Plain values."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """On a header, a query parameter or a cookie: its value, or an expression that matches it."""

    name: str
    value: str
    regex: bool = False

    def met_by(self, value: str | None) -> bool:
        if value is None:
            return False
        return re.search(self.value, value) is not None if self.regex else value == self.value
