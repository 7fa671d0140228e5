"""The page that says which controller does what one of Kubernetes' does names controllers that there are."""

from __future__ import annotations

import re

from services.controller.catalog import CONTROLLERS
from tests.support.cluster_client import ROOT

HEADING = "## The controllers of kube-controller-manager"


def test_each_controller_that_the_page_names_is_there_and_none_is_left_out() -> None:
    _, _, behind = (ROOT / "docs/compatibility.md").read_text().partition(HEADING)
    rows = [line.split("|") for line in behind.partition("\n## ")[0].splitlines() if line.startswith("| ") and "Knarr's" not in line]
    named = {name for row in rows for name in re.findall(r"`([a-z]+)`", row[2])}
    # Those beside a volume's driver are no part of Kubernetes' manager.
    others = {controller.name for controller in CONTROLLERS if controller.name.startswith("csi")}
    assert len(rows) > 20 and named == {controller.name for controller in CONTROLLERS} - others
