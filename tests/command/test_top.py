"""``knarr top``: what is used, summed and beside what there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.command import main as cli
from services.command.api import Refused
from services.command.table import aligned
from services.command.top import METRICS, as_dicts, as_rows, nodes, pods


class Lists:
    """Answers what it was given, by path."""

    def __init__(self, **found: Any) -> None:
        self._found = found

    def objects(self, path: str) -> Iterator[Any]:
        yield from self._found[{"/api/v1/nodes": "has"}.get(path, path.removeprefix(f"{METRICS}/").replace("/", "_"))]


def usage(cpu: str, memory: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory}


def test_nodes_are_told_with_their_shares_the_busiest_first() -> None:
    api = Lists(
        has=[
            {"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}},
            {"metadata": {"name": "b"}, "status": {"allocatable": {"cpu": "500m", "memory": "1Gi"}}},
        ],
        nodes=[
            {"metadata": {"name": "a"}, "usage": usage("100000000n", "1Gi")},
            {"metadata": {"name": "b"}, "usage": usage("250m", "524288Ki")},
            {"metadata": {"name": "gone"}, "usage": usage("1u", "1Mi")},
        ],
    )
    assert list(aligned(as_rows(nodes(api)))) == [
        "NAME  CPU   CPU%  MEMORY  MEMORY%",
        "b     250m  50%   512Mi   50%",
        "a     100m  5%    1024Mi  25%",
        "gone  0m          1Mi",
    ]
    assert as_dicts(nodes(api))[0] == {
        "namespace": "", "name": "b", "cpu": 250, "memory": 512 << 20, "cpu_share": 0.5, "memory_share": 0.5,
    }  # fmt: skip


def test_of_pods_the_containers_are_summed() -> None:
    web = {
        "metadata": {"namespace": "shop", "name": "web"},
        "containers": [{"usage": usage("1m", "1Mi")}, {"usage": usage("1500u", "2Mi")}],
    }
    idle = {"metadata": {"namespace": "default", "name": "idle"}, "containers": []}
    api = Lists(pods=[idle, web], namespaces_default_pods=[idle])
    assert as_rows(pods(api, "")) == [
        ["NAMESPACE", "NAME", "CPU", "MEMORY"],
        ["shop", "web", "2m", "3Mi"],
        ["default", "idle", "0m", "0Mi"],
    ]
    assert [found.name for found in pods(api, "default")] == ["idle"]


def test_where_there_is_no_cluster_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["knarr", "top", "pods", "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1 and "start the cluster first" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "words"), [(404, "`knarr addon enable metrics` has it do so"), (403, "not you")])
def test_a_cluster_without_metrics_is_told_with_the_way_out(
    code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def __init__(self, path: Path) -> None:
            self.path = path

        def __enter__(self) -> Refusing:
            raise Refused(code, "not you")

        def __exit__(self, *_: object) -> None: ...

    (tmp_path / "kubeconfig").touch()
    monkeypatch.setattr("services.command.api.ApiClient", Refusing)
    monkeypatch.setattr("sys.argv", ["knarr", "top", "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    assert words in capsys.readouterr().err
