"""As whom a container runs: ``runAsNonRoot`` against every way in which an image can say root, groups, profiles of the node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from services.kubelet.container.identity import identity
from services.kubelet.container.inputs import ConfigError, SecurityFacts
from services.kubelet.container.profiles import NoProfile, read_seccomp
from services.kubelet.container.security import security
from services.kubelet.runtime.plan import Identity
from services.kubelet.runtime.port import Accounts, Image


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
        assert security(spec, context, image, SecurityFacts()).user == ""
        return
    with pytest.raises(ConfigError, match=words):
        security(spec, context, image, SecurityFacts())


@pytest.mark.parametrize("name", ["unconfined", "Unconfined", " unconfined ", ""])
def test_no_profile_of_the_node_is_called_none(name: str) -> None:
    spec, context = core.Container(name="c"), core.PodSecurityContext()
    context.app_armor_profile.type, context.app_armor_profile.localhost_profile = "Localhost", name
    with pytest.raises(NoProfile, match=f"^apparmor profile not found {name}$"):
        security(spec, context, Image("id", "i"), SecurityFacts())
    context.app_armor_profile.localhost_profile = "mine"
    assert security(spec, context, Image("id", "i"), SecurityFacts()).app_armor == "mine"


ACCOUNTS = Accounts(
    passwd="root:x:0:0::/:/bin/sh\n# no entry\napp:x:1500:1501::/:/bin/sh\nodd:x:many:1::/:\nsame:x:1500:9::/:/bin/sh\n",
    group="root:x:0:\napp:x:1501:\nwheel:x:1600:other,app\nown:x:1501:app\nbroken\nodd:x:y:app\n",
)


@pytest.mark.parametrize(
    ("user", "pod", "container", "uid", "gid", "groups"),
    [
        ("", "{}", "{}", 0, 0, ()),
        ("app", "{}", "{}", 1500, 1501, (1600,)),
        ("1500", "{}", "{}", 1500, 1501, (1600,)),
        ("1500:wheel", "{}", "{}", 1500, 1600, (1501,)),
        ("app:77", "{}", "{}", 1500, 77, (1600, 1501)),
        ("9", "{supplementalGroups: [5, 6, 5]}", "{}", 9, 0, (5, 6)),
        ("app", "{supplementalGroups: [5], fsGroup: 8}", "{runAsGroup: 3}", 1500, 3, (1600, 1501, 5, 8)),
        ("app", "{supplementalGroups: [5], fsGroup: 8, supplementalGroupsPolicy: Strict}", "{}", 1500, 1501, (5, 8)),
        ("app:wheel", "{runAsUser: 0}", "{runAsUser: 1500}", 1500, 1501, (1600,)),
    ],
)
def test_as_whom_a_container_runs(user: str, pod: str, container: str, uid: int, gid: int, groups: tuple[int, ...]) -> None:
    own = codec.from_json(core.SecurityContext, yaml.safe_load(container)).message
    shared = codec.from_json(core.PodSecurityContext, yaml.safe_load(pod)).message
    assert identity(own, shared, Image("id", "i", user), ACCOUNTS) == Identity(uid, gid, groups)


@pytest.mark.parametrize("user", ["nobody", "odd", "app:nogroup"])
def test_a_user_whom_the_image_does_not_know_is_for_the_engine_to_refuse(user: str) -> None:
    assert identity(core.SecurityContext(), core.PodSecurityContext(), Image("id", "i", user), ACCOUNTS) is None


def test_a_profile_lies_in_the_nodes_folder_and_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "seccomp"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "good.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    (folder / "alias.json").symlink_to("deep/good.json")
    (folder / "broken.json").write_text("{")
    (folder / "out.json").symlink_to("../secret")
    (tmp_path / "secret").write_text("{}")
    assert read_seccomp(str(tmp_path), "deep/good.json").text == read_seccomp(str(tmp_path), "alias.json").text
    os.mkfifo(folder / "pipe")
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for name, words in {
        "none.json": f'cannot load seccomp profile "{folder}/none.json": open {folder}/none.json: no such file or directory',
        "broken.json": "decoding seccomp profile failed",
        "out.json": "invalid cross-device link",
        "../secret": "invalid cross-device link",
        "deep": "is a directory",
        ".": "is a directory",
        "pipe": "not a regular file",
    }.items():
        with pytest.raises(NoProfile) as refused:
            read_seccomp(str(tmp_path), name)
        assert words in str(refused.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
