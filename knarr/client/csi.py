"""Calls of volume drivers (proto/knarr/api/csi/v1): what the kubelet and the controller manager, who speak to them, have in common."""

from __future__ import annotations

import grpc

# How long a driver may take for what it answers without doing anything.
QUESTION_SECONDS = 15.0


def code_name(code: grpc.StatusCode) -> str:
    """As Kubernetes writes it: ``NotFound``."""
    return "Canceled" if code is grpc.StatusCode.CANCELLED else code.name.title().replace("_", "")


def words_of(code: grpc.StatusCode, details: str | None) -> str:
    """As Kubernetes writes a call that failed: ``rpc error: code = NotFound desc = …``."""
    return f"rpc error: code = {code_name(code)} desc = {details or ''}"
