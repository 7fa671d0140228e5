"""The page for users says what is true: permissions and annotations."""

from __future__ import annotations

import json
import re
from pathlib import Path

from services.cloud.providers.aws import options

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cloud-aws.md").read_text()
SOURCES = {path.name: path.read_text() for path in (ROOT / "services" / "cloud" / "providers" / "aws").glob("*.py")}
# The name stands in an error of a call that is none.
NOT_CALLED = {"ec2:DescribeRegions"}


def test_the_permissions_are_those_of_the_calls() -> None:
    (policy,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    listed = [action for statement in json.loads(policy)["Statement"] for action in statement["Action"]]
    used = {action for text in SOURCES.values() for action in re.findall(r'"((?:ec2|elasticloadbalancing):[A-Za-z]+)"', text)}
    used |= {f"elasticloadbalancing:{operation}" for operation in re.findall(r'_elb\(\s*"([A-Za-z]+)"', SOURCES["execute.py"])}
    assert sorted(listed) == sorted(used - NOT_CALLED)


def test_every_annotation_is_listed() -> None:
    read = set(re.findall(r'read\.(?:choice|text|list|pairs|number)\(\s*"([a-z-]+)"', SOURCES["options.py"]))
    assert len(read) > 15
    table = PAGE.partition("| annotation |")[2].partition("\n\n")[0]
    listed: set[str] = set()
    for line in table.splitlines()[2:]:
        names = re.findall(r"`([a-z-]+)`", line.split("|")[1])
        listed |= {f"healthcheck{name}" if name.startswith("-") else name for name in names}
    assert listed == read
    assert options.PREFIX in PAGE
