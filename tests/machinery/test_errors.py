"""The classes of Status errors."""

import pytest

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import errors

WITHOUT_CLASS = {"MethodNotAllowed", "NotAcceptable", "Gone", "RequestEntityTooLarge", "UnsupportedMediaType"}


@pytest.mark.parametrize("reason", sorted(errors.REASONS))
def test_an_error_is_of_its_reasons_class(reason: str) -> None:
    made = errors.status_error(reason, "no")
    assert type(made).__name__ == ("StatusError" if reason in WITHOUT_CLASS else reason)
    assert made.code == errors.REASONS[reason][0]


def test_an_unknown_reason_is_a_plain_status_error() -> None:
    assert type(errors.error_of(meta.Status(reason="Teapot"))) is errors.StatusError


def test_a_conflict_about_what_is_gone_is_passed_over_like_what_is_not_found() -> None:
    words = "Precondition failed: UID in precondition: x, UID in object meta: "
    gone, another = (errors.conflict("pods", "web", detail=words + uid) for uid in ("", "y"))
    assert isinstance(gone, errors.Conflict) and isinstance(gone, errors.NotFound) and gone.code == 409
    assert type(another) is errors.Conflict
