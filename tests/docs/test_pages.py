"""What the pages name is there: files, links, commands, modules, kinds, ports."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.machinery.catalog import BUILT_IN
from services.apiserver.fields.table import WHOLE, rows
from services.standalone.settings import Ports
from tests.support.cluster_client import ROOT

PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "tests/**/*.md") for path in ROOT.glob(pattern))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# Only what begins with one of these is taken for a path of the repository.
FOLDERS = "knarr|services|tests|tools|proto|docs|deploy|scripts|examples|bench"
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./{{}}*<>,-]*[\w/}}>*]")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
MODULE = re.compile(r"python3? (?:-P )?(?:-m pdb (?:-c continue )?)?-m ((?:knarr|services|tools|tests|bench)(?:\.\w+)*)")
# In Python's words: a module, or what it has. Names in protobuf (``knarr.api``) and of files (``knarr.log``) are others.
DOTTED = re.compile(r"`((?:knarr|services)\.(?!api\.|(?:io|log|env|service)\b)[\w.]+)`")
CALL = re.compile(r"\b([A-Z]\w*Service)[/.]([A-Z]\w*)")
TARGET = re.compile(r"(?:^|`)make ([a-z]+)(?=`| +#| [A-Z]+=|$)", re.MULTILINE)


def paths_in(text: str) -> Iterator[str]:
    """Paths that are meant as they stand; ``{a,b}`` is both, ``<name>`` and ``…`` stand for what a reader chooses."""
    for found in PATH.findall(text):
        if "<" in found or (found.startswith("knarr/") and re.match(r"knarr/(?:component|node|etcd|registry|dev)\b", found)):
            continue
        choice = re.search(r"\{([^}]*)\}", found)
        for part in choice[1].split(",") if choice else [""]:
            yield found.replace(choice[0], part) if choice else found


@EVERY_PAGE
def test_paths_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    lost = [path for path in paths_in(text) if not any(ROOT.glob(path.rstrip("/")))]
    lost += [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert lost == []


def _here(module: str) -> str:
    """What a module is called in a checkout, that may be named as in an installed Knarr (docs/decisions/package.md)."""
    return module.removeprefix("knarr.") if module.startswith("knarr.services") else module


@EVERY_PAGE
def test_modules_and_targets_are_there(page: Path) -> None:
    text = page.read_text()
    for module in MODULE.findall(text):
        assert importlib.util.find_spec(_here(module)) is not None, module
    for name in DOTTED.findall(text):
        assert pkgutil.resolve_name(_here(name)) is not None
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGET.findall(text)) <= targets


@EVERY_PAGE
def test_what_grpcurl_is_told_to_call_is_there(page: Path) -> None:
    declared = {
        (service[1], call)
        for file in (ROOT / "proto").rglob("*.proto")
        for service in re.finditer(r"^service (\w+) \{(.*?)^\}", file.read_text(), re.MULTILINE | re.DOTALL)
        for call in re.findall(r"^  rpc (\w+)", service[2], re.MULTILINE)
    }
    assert set(CALL.findall(page.read_text())) <= declared


def test_the_readme_names_every_kind_that_something_acts_by() -> None:
    """The others stand in docs/fields.md."""
    (row,) = (line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| kinds |"))
    kept = {row.message for row in rows() if row.field == WHOLE}
    served = {version for resource in BUILT_IN for version in resource.versions if version.served}
    acting = {version.kind for version in served if version.message.DESCRIPTOR.full_name not in kept}
    missing = acting - set(re.findall(r"\w+", row.split("|")[2]))
    assert not missing, f"README.md says which kinds work, and not {', '.join(sorted(missing))}"


def test_the_readme_names_the_port_of_every_component() -> None:
    text = (ROOT / "README.md").read_text()
    ports = dict(re.findall(r"^\| (\w+) \| ([^|]*\d{4,5}[^|]*) \|", text, re.MULTILINE))
    for component in ("apiserver", "scheduler", "controller", "kubelet", "proxy", "dns", "cloud"):
        assert str(getattr(Ports(), component)) in ports[component], component


@pytest.mark.parametrize("package", ["knarr", "services", "bench"])
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    """A folder without one works in a checkout, and is missing where Knarr is installed."""
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_every_page_is_found_by_links_from_the_readme() -> None:
    found, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in found:
            found.add(page)
            left += [path for link in LINK.findall(page.read_text()) if (path := (page.parent / link).resolve()).suffix == ".md"]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in found] == []
