"""A claim leaves its class of volume attributes: only while its volume has not been given those of one."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.persistentvolumeclaim import PersistentVolumeClaimStrategy

STRATEGY = PersistentVolumeClaimStrategy()


def claim(wanted: str | None, current: str | None) -> core.PersistentVolumeClaim:
    made = core.PersistentVolumeClaim()
    made.spec.access_modes.append("ReadWriteOnce")
    made.spec.resources.requests["storage"].string = "1Gi"
    made.status.phase = "Bound"
    if wanted is not None:
        made.spec.volume_attributes_class_name = wanted
    if current is not None:
        made.status.current_volume_attributes_class_name = current
    return made


@pytest.mark.parametrize(
    ("current", "wanted", "words"),
    [
        ("fast", None, ["Forbidden: update from non-nil value to nil is forbidden"]),
        ("fast", "", ["Forbidden: update from non-nil value to an empty string is forbidden"]),
        ("fast", "slow", []),
        (None, None, []),
        (None, "", []),
    ],
)
def test_a_volume_is_of_a_class_from_its_first_on(current: str | None, wanted: str | None, words: list[str]) -> None:
    causes = STRATEGY.validate_update(claim(wanted, current), claim("fast", current))
    assert [cause.message for cause in causes] == words
    assert {cause.field for cause in causes} <= {"spec.volumeAttributesClassName"}
