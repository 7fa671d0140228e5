"""Options that turn text into values, and say what the text should look like."""

from __future__ import annotations

import argparse

import pytest

from knarr.service.options import driver_sockets, optional_drivers


def test_drivers_are_named_with_their_sockets() -> None:
    assert driver_sockets("") == {}
    text = "disks.example.com=unix:///run/disks/csi.sock, files.example.com=unix:///run/files.sock,"
    found = {"disks.example.com": "unix:///run/disks/csi.sock", "files.example.com": "unix:///run/files.sock"}
    assert driver_sockets(text) == found
    assert driver_sockets(optional_drivers(text)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("disks", "is not NAME=unix:///PATH"),
        ("disks=/run/csi.sock", "is not NAME=unix:///PATH"),
        ("disks=unix:///run/", "is not NAME=unix:///PATH"),
        ("=unix:///run/csi.sock", "is not NAME=unix:///PATH"),
        ("a_b=unix:///run/csi.sock", "is no name of a driver"),
        (f"{'a' * 64}=unix:///run/csi.sock", "is no name of a driver"),
        (f"a=unix:///{'a' * 120}", "at most 107 bytes"),
        ("a=unix:///x,a=unix:///y", "named twice"),
    ],
    ids=["no socket", "no scheme", "folder", "no name", "name", "long name", "long path", "twice"],
)
def test_what_names_no_driver_is_refused(text: str, words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        driver_sockets(text)
