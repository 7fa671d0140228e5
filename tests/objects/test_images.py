"""References to images, told apart from what is none."""

from __future__ import annotations

import pytest

from knarr.objects.images import valid_image

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "valid"),
    [
        ("app", True),
        ("r.io:5000/team/app:v1_2.3-x", True),
        (f"app@sha256:{ID}", True),
        (f"app:1@sha512:{ID * 2}", True),
        # An image's id, as an engine tells it; without its algorithm it could be a name as well.
        (f"sha256:{ID}", True),
        (ID, False),
        (ID[:12], True),
        (f"r.io/{ID}", True),
        (f"app@sha256:{ID[1:]}", False),
        (f"app@sha256:{ID.upper()}", False),
        (f"app@md5:{ID[:32]}", False),
        ("app:\u00e9", False),
        ("app:1\n", False),
        ("App", False),
        ("app:" + "t" * 129, False),
        ("a" * 255, True),
        ("a" * 256, False),
        ("", False),
    ],
)
def test_what_a_reference_is(reference: str, valid: bool) -> None:
    assert valid_image(reference) is valid
