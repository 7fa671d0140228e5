"""ReplicaSet: keeps as many pods as asked for (``workloads/replicas.py`` decides)."""

from __future__ import annotations

from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from services.controller.workloads.replicated import ReplicatedController


class ReplicaSetController(ReplicatedController[apps.ReplicaSet]):
    name = "replicaset"
    workload: ClassVar[type[Message]] = apps.ReplicaSet
