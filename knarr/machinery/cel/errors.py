"""What can go wrong with an expression."""

from __future__ import annotations


class InvalidExpression(Exception):
    """An expression that cannot be carried out whatever the values: its syntax, a name, a type. ``position`` counts letters from 0."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.message, self.position = message, position

    def shown(self, source: str) -> str:
        """In the words and the form of CEL's own compiler."""
        line = source.count("\n", 0, self.position) + 1
        start = source.rfind("\n", 0, self.position) + 1
        text = source[start:].partition("\n")[0]
        column = self.position - start
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {text}\n | {'.' * column}^"


class EvaluationError(Exception):
    """A value that an expression cannot be carried out with: no such key, a division by zero. Logic may pass over it."""


class CostExceeded(Exception):
    """An evaluation that took more than it may."""
