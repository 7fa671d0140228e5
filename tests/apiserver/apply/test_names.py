"""What managers are called."""

from __future__ import annotations

import pytest

from services.apiserver.apply.names import manager_name


@pytest.mark.parametrize(
    ("wanted", "agent", "user", "name"),
    [
        ("mine", "kubectl/v1", "alice", "mine"),
        ("", "kubectl/v1.37 (linux)", "alice", "kubectl"),
        ("", "", "alice", "unknown"),
        ("", "/nothing", "alice", "unknown"),
        ("", "a\x00b\n/1", "alice", "ab"),
        ("", "ü" * 100, "alice", "ü" * 64),
        ("", None, "system:kube-scheduler", "kube-scheduler"),
        ("", None, "system:node:node-1", "kubelet"),
        ("", None, "alice", "alice"),
    ],
)
def test_a_manager_is_called_as_the_request_says_or_its_client_or_its_user(wanted: str, agent: str | None, user: str, name: str) -> None:
    assert manager_name(wanted, agent, user) == name
