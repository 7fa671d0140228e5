"""Plugins that are installed beside Knarr: the example is one, found as any package's is."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest

from services.scheduler.configuration.reading import read_scheduler_configuration, settings_of
from services.scheduler.outside import GROUP, find_outside
from tests.scheduler.clusters import table_of
from tests.scheduler.objects import node, pod
from tests.scheduler.test_component import Fixture
from tests.support.virtual_time import virtual_time

EXAMPLE = Path(__file__).parents[2] / "examples" / "scheduler-plugin"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python takes for one with an installed package, whose entry points are the example's."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    install(tmp_path, {**project["entry-points"][GROUP]})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return tmp_path


def install(folder: Path, entries: dict[str, str]) -> None:
    info = folder / "example-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items()))


def test_the_example_is_found_and_judges_and_is_no_default(installed: Path) -> None:
    found = read_scheduler_configuration(EXAMPLE / "scheduler.yaml")
    (profile,) = found.profiles
    assert [plugin.name for plugin in profile.filters][-1] == "NodePrice"
    assert {plugin.name: weight for plugin, weight in profile.scores}["NodePrice"] == 5
    assert table_of([node("n1")], [], list(profile.filters))
    plain = installed / "plain.yaml"
    plain.write_text("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n")
    assert "NodePrice" not in [plugin.name for plugin in read_scheduler_configuration(plain).profiles[0].filters]


def test_it_places_pods(installed: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        nodes = [node(name, labels={"example.com/price": price}) for name, price in (("dear", "90"), ("fair", "30"))]
        made = Fixture(*nodes, settings=settings_of(read_scheduler_configuration(EXAMPLE / "scheduler.yaml")))
        async with made.running():
            poor = pod("poor")
            poor.metadata.annotations["example.com/most"] = "20"
            for found in (pod("any"), poor):
                await made.client.create(found)
            await asyncio.sleep(1)
            assert (await made.pod("any")).spec.node_name == "fair"
            assert made.events("FailedScheduling")[0].startswith("0/2 nodes are available: 2 node(s) were too expensive.")

    scenario()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("nowhere.at:All", 'plugin "Odd" cannot be loaded from nowhere.at:All: ModuleNotFoundError'),
        ("pathlib:Path", 'plugin "Odd": pathlib:Path is no knarr.scheduler_plugin.Plugin'),
        ("node_price.plugin:NodePrice", "plugin \"Odd\": node_price.plugin:NodePrice calls itself 'NodePrice'"),
    ],
)
def test_one_that_will_not_do_is_refused_with_the_reason(value: str, told: str, installed: Path) -> None:
    install(installed, {"Odd": value})
    with pytest.raises(ValueError) as error:
        find_outside("Odd")
    assert told in str(error.value)
    assert find_outside("Banana") is None
