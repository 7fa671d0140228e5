"""Rules about taints of devices. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_choice, check_format, label_value, qualified_name

EFFECTS = ("NoExecute", "NoSchedule", "None")


def validate_device_taint(taint: devices.DeviceTaint, path: Path) -> list[Cause]:
    causes = check_format(path.child("key"), taint.key, qualified_name)
    causes += check_format(path.child("value"), taint.value, label_value) if taint.value else []
    return causes + check_choice(path.child("effect"), taint.effect, EFFECTS)
