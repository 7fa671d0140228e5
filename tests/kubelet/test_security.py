"""``runAsNonRoot`` holds against every way in which an image can say root."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.inputs import ConfigError
from services.kubelet.container.security import security
from services.kubelet.runtime.port import Image


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("", "image will run as root"),
        ("root", "image will run as root"),
        ("0", "image will run as root"),
        ("00:7", "image will run as root"),
        ("app", "non-numeric user"),
        ("１", "non-numeric user"),
        ("0x0", "non-numeric user"),
        ("1000:0", ""),
    ],
)
def test_run_as_non_root(user: str, words: str) -> None:
    spec, context, image = core.Container(name="c"), core.PodSecurityContext(run_as_non_root=True), Image("id", "i", user)
    if not words:
        assert security(spec, context, image).user == ""
        return
    with pytest.raises(ConfigError, match=words):
        security(spec, context, image)
