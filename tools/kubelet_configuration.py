"""Writes docs/kubelet-configuration.md, what becomes of each field of a KubeletConfiguration, from services/kubelet/configuration.tsv.

python -m tools.kubelet_configuration
"""

from __future__ import annotations

import json
from pathlib import Path

from services.kubelet.configuration import FILE, HONOURED, IDLE, Row, rows

PAGE = Path(__file__).resolve().parent.parent / "docs" / "kubelet-configuration.md"
HEAD = """# Every field of a KubeletConfiguration

`python -m services.kubelet --config FILE` reads the file of Kubernetes' kubelet (`kubelet.config.k8s.io/v1beta1`, the fields of 1.37),
and so does `knarr up --kubelet-options "--config=/whole/path"` what of it is about pods, resources, eviction, processors, images and
logs. Flags that are given beside the file win, as with Kubernetes. A field that Kubernetes does not have, one that is there twice, and
a value that cannot be had are told by name, and nothing starts. `/configz` of the node tells what holds. Folders of further files
(`--config-dir`) are not read. Written by `python -m tools.kubelet_configuration` from
[configuration.tsv](../services/kubelet/configuration.tsv): change it there.

*honoured*: the flag says the same. *only*: these values are what is so here, any other one is refused; none beside it: any is. *no
meaning*: taken, and the log says why it changes nothing.

| field | state | flag, or values | remark |
|---|---|---|---|
"""


def page() -> str:
    """The whole of it."""
    return HEAD + "".join(_line(row) for row in rows().values())


def _line(row: Row) -> str:
    values = ", ".join(f"`{json.dumps(value)}`" for value in row.values)
    detail = f"`{row.flag}`" if row.state == HONOURED else values
    return f"| `{row.field}` | {'no meaning' if row.state == IDLE else row.state} | {detail} | {row.words} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.name} from {FILE.name}")
