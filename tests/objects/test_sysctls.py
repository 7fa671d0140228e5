"""Kernel parameters: both spellings, and the namespace that they belong to."""

from __future__ import annotations

import pytest

from knarr.objects.sysctls import IPC, NETWORK, dotted, namespace_of


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
        ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
        ("plain", "plain"),
    ],
)
def test_dotted(name: str, wanted: str) -> None:
    assert dotted(name) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("kernel.sem", IPC),
        ("kernel.shmmax", IPC),
        ("fs.mqueue.msg_max", IPC),
        ("net.core.somaxconn", NETWORK),
        ("kernel.panic", ""),
        ("fs.file-max", ""),
    ],
)
def test_namespace(name: str, wanted: str) -> None:
    assert namespace_of(name) == wanted
