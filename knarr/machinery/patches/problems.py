"""The errors that patches share."""

from __future__ import annotations

from knarr.machinery.errors import Cause, StatusError, status_error


def unprocessable(detail: str) -> StatusError:
    """422: the patch is well-formed but does not fit the object."""
    message = f"the server rejected our request due to an error in our request: {detail}"
    return status_error("Invalid", message, causes=[Cause("UnexpectedServerResponse", detail, "patch")])


def detail_of(error: StatusError) -> str:
    """What is wrong with a patch, without whose fault it is."""
    causes = error.status.details.causes
    return causes[0].message if causes else error.status.message
