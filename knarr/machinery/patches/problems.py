"""The errors that patches share."""

from __future__ import annotations

from typing import Any

from knarr.machinery.errors import Cause, StatusError, status_error


def unprocessable(detail: str) -> StatusError:
    """422: the patch is well-formed but does not fit the object."""
    message = f"the server rejected our request due to an error in our request: {detail}"
    return status_error("Invalid", message, causes=[Cause("UnexpectedServerResponse", detail, "patch")])


def detail_of(error: StatusError) -> str:
    """What is wrong with a patch, without whose fault it is."""
    causes = error.status.details.causes
    return causes[0].message if causes else error.status.message


def go_value(value: Any) -> str:
    """As Go prints maps; what is nested deeply has been refused before."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{go_value(item)}" for name, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_value, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
