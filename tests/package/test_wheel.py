"""The wheel: nothing of it is called ``services`` at the top, and what it brings executes nothing of the current directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from tests.support.cluster_client import BIN, ROOT
from tests.support.etcd import ETCD
from tools.wheel import moved

ROOMS = ("apiserver", "scheduler", "standalone")
PARTS = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE", "requirements.in", "tools/wheel.py", "knarr", "services")
PORTS = ("rest", "apiserver", "mutual", "kubelet", "proxy", "controller", "scheduler", "dns", "cloud", "nameserver", "gateway")
# What a program of Python's might load, were it to look there.
HOSTILE = ("json.py", "click.py", "sitecustomize.py", "services/__init__.py", "services/standalone/__init__.py", "knarr/__init__.py")


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("from services.scheduler.plugin import Plugin", "from knarr.services.scheduler.plugin import Plugin"),
        ('await loaded("services.scheduler.remote.peer")', 'await loaded("knarr.services.scheduler.remote.peer")'),
        ('help="see `python -m services.apiserver`"', 'help="see `python -m knarr.services.apiserver`"'),
        ('prog=f"python -m services.{name}"', 'prog=f"python -m knarr.services.{name}"'),
        ('NODE_PORTS = "services.nodeports"', 'NODE_PORTS = "services.nodeports"'),
        ("self.services.scheduler, its/services.scheduler", "self.services.scheduler, its/services.scheduler"),
        ("from knarr.services.scheduler.plugin import Plugin", "from knarr.services.scheduler.plugin import Plugin"),
        ('"services.apiserverless"', '"services.apiserverless"'),
    ],
)
def test_a_module_is_named_as_in_the_wheel_and_nothing_else_is(written: str, there: str) -> None:
    assert moved(written, ROOMS) == there


@pytest.mark.parametrize("text", ["from services import scheduler\n", "x = 1\nif x:\n    import services.scheduler\n"])
def test_an_import_that_cannot_be_told_from_a_variable_ends_the_build(text: str) -> None:
    with pytest.raises(ValueError, match=r"from services\.<room> import"):
        moved(text, ROOMS)


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, beside this one's libraries."""

    wheel: Path
    folder: Path

    def run(self, *command: str, cwd: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": path if path is not None else f"{Path(ETCD).parent}:/usr/bin:/bin", "HOME": str(self.folder)}
        program, *arguments = command
        whole = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "venv"
    for part in PARTS:
        (source / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source / part)
    # What Python is told to find besides is found in the new environment, too.
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    built = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *built], check=True, timeout=100, env=plain)
    (wheel,) = folder.glob("knarr-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    subprocess.run(
        [*pip, "--python", str(environment), "install", "--no-deps", "--no-index", str(wheel)], check=True, timeout=100, env=plain
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    # The libraries alone: links to a checkout hold for the environment whose own folder they lie in.
    (packages / "libraries.pth").write_text(f"{Path(orjson.__file__).parents[1]}\n")
    return Installed(wheel, environment)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Path]:
    """A folder in which whatever is executed leaves a mark."""
    folder, mark = tmp_path / "trap", tmp_path / "mark"
    for name in HOSTILE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"open({str(mark)!r}, 'a').write(__file__)\nraise SystemExit('executed')\n")
    yield folder
    assert not mark.exists(), mark.read_text()


def test_nothing_of_it_is_called_services_at_the_top(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
        texts = {name: wheel.read(name).decode() for name in names if name.endswith(".py")}
        (told,) = (wheel.read(name).decode() for name in names if name.endswith("top_level.txt"))
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"knarr"}
    assert told.split() == ["knarr"]
    bundle = (ROOT / "services/web/bundle").iterdir()
    held = {*bundle, *(path for path in (ROOT / "services").rglob("*") if path.suffix in (".py", ".tsv", ".yaml", ".lua"))}
    in_checkout = {str(path.relative_to(ROOT)) for path in held}
    assert {name.removeprefix("knarr/") for name in names if name.startswith("knarr/services/")} == in_checkout
    assert [name for name, text in texts.items() if "from services." in text] == []


def test_the_mark_tells_what_a_module_of_the_current_directory_would_do(installed: Installed, tmp_path: Path) -> None:
    """Else the tests beside this one showed nothing: without -P a module of the current directory goes before all others."""
    (tmp_path / "click.py").write_text("raise SystemExit('executed')\n")
    assert installed.run("python", "-m", "knarr", "--help", cwd=tmp_path).stderr == "executed\n"


def test_the_command_and_components_execute_nothing_of_the_current_directory(installed: Installed, trap: Path) -> None:
    told = installed.run("knarr", "--help", cwd=trap)
    assert (told.returncode, told.stderr) == (0, "")
    component = installed.run("python", "-P", "-m", "knarr.services.scheduler", "--help", cwd=trap)
    assert component.returncode == 0 and "python -m knarr.services.scheduler" in component.stdout


def test_what_the_page_is_handed_over_to_is_found_and_executes_nothing_of_the_current_directory(
    installed: Installed, trap: Path, tmp_path: Path
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("{}")
    told = installed.run("knarr", "ui", "--kubeconfig", str(file), "--no-browser", cwd=trap)
    assert (told.returncode, told.stdout, told.stderr) == (1, "", f"error: {file}: there is no context ''\n")


@pytest.mark.etcd
def test_a_cluster_starts_from_where_it_is_called(installed: Installed, trap: Path, tmp_path: Path) -> None:
    where = ["--data-dir", str(tmp_path / "data")]
    choices = ["--runtime", "hollow", "--datapath", "userspace", *(f"--{name}-port=0" for name in PORTS)]
    try:
        up = installed.run("knarr", "up", *where, *choices, cwd=trap)
        assert up.returncode == 0, up.stderr
        nodes = [str(BIN / "kubectl"), "--kubeconfig", str(tmp_path / "data/kubeconfig"), "get", "nodes", "--no-headers"]
        assert " Ready " in subprocess.run(nodes, capture_output=True, text=True, check=True, timeout=60).stdout
        status = installed.run("knarr", "status", *where, cwd=trap)
        assert status.returncode == 0, status.stderr
    finally:
        down = installed.run("knarr", "down", *where, cwd=trap)
    assert down.returncode == 0, down.stderr


def test_what_is_missing_is_named_with_how_to_get_it(installed: Installed, tmp_path: Path) -> None:
    up = installed.run("knarr", "up", "--data-dir", str(tmp_path / "data"), cwd=tmp_path, path=str(tmp_path))
    assert up.returncode == 1
    assert "apt-get install etcd-server" in up.stderr
