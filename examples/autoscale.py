"""Pods by traffic, seen from outside: visitors come, pods are added; they leave, the pods go.

Run by ``make demo-autoscale``. Takes two to three minutes, since what pods use is measured every 15 seconds; exits 1 and says what was
expected when something is not as it should be.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from demo import BIN, DATA, ROOT, get, is_ready, kubectl, run, say, wait_for

NAME = "shop"
VISITORS = 6
PAUSE_SECONDS = 0.2
LOOK_SECONDS = 5.0
# Two looks at what the pods use, one period of the autoscaler, and starting pods; each 15 seconds at most.
PATIENCE_SECONDS = 100.0


class Visitors:
    """Each asks, waits a moment, and asks again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._gone = threading.Event()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(VISITORS)]
        self.served = self.failed = 0

    @property
    def there(self) -> int:
        return 0 if self._gone.is_set() else VISITORS

    def come(self) -> None:
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        self._gone.set()

    def _visit(self) -> None:
        # A proxy that the environment names does not know the cluster.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while not self._gone.wait(PAUSE_SECONDS):
            try:
                opener.open(self._url, timeout=10).read()
                self.served += 1
            except (urllib.error.URLError, OSError):
                self.failed += 1


def utilization() -> int | None:
    """What the autoscaler has seen last, in percent of what the pods ask for."""
    for metric in get("hpa", NAME)["status"].get("currentMetrics") or []:
        found: int | None = metric.get("resource", {}).get("current", {}).get("averageUtilization")
        return found
    return None


def pods() -> list[dict[str, Any]]:
    return [pod for pod in get("pods", "-l", f"app={NAME}")["items"] if "deletionTimestamp" not in pod["metadata"]]


def watch(visitors: Visitors, began: float, wanted: Callable[[int], bool], what: str) -> int:
    """Tells how it goes, line by line, until as many pods are ready as are wanted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    served, at = visitors.served, time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        rate, served, at = (visitors.served - served) / (time.monotonic() - at), visitors.served, time.monotonic()
        found = pods()
        ready = sum(map(is_ready, found))
        used = utilization()
        shown = "not measured yet" if used is None else f"{used:>3} % (wanted: 50 %)"
        bar = "■" * ready + "□" * (len(found) - ready)
        print(f"    {at - began:>4.0f} s   {visitors.there:>2} visitors, {rate:>4.1f} answers/s   CPU {shown:<22} pods {bar}", flush=True)
        if ready == len(found) and wanted(ready):
            return ready
    kubectl("describe", "hpa", NAME)
    kubectl("get", "pods", "-l", f"app={NAME}", "-o", "wide")
    raise SystemExit(f"error: waited {PATIENCE_SECONDS:.0f} s in vain for {what}; the log is {DATA}/knarr.log")


@contextlib.contextmanager
def applied() -> Iterator[None]:
    kubectl("apply", "-f", "examples/autoscale.yaml")
    try:
        yield
    finally:
        kubectl("delete", "-f", "examples/autoscale.yaml", "--wait=false", show=False)


def show(began: float) -> None:
    kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=60s", show=False)
    url = f"http://{get('service', NAME)['spec']['clusterIP']}/"
    visitors = Visitors(url)
    wait_for("the shop to answer", lambda: answers(url))
    say(f"one pod; {VISITORS} visitors come, and come again")
    visitors.come()
    try:
        most = watch(visitors, began, lambda ready: ready > 1, "a second pod")
        say(f"pods were added: {most} share the visitors now; they leave")
    finally:
        visitors.leave()
    watch(visitors, began, lambda ready: ready == 1, "one pod again")
    say(f"one pod is enough again. {visitors.served} visits were answered, {visitors.failed} were not; why it was done:")
    chosen = f"involvedObject.uid={get('hpa', NAME)['metadata']['uid']},reason=SuccessfulRescale"
    kubectl("get", "events", "--field-selector", chosen, "-o", "custom-columns=WHY:.message")
    if visitors.served == 0 or visitors.failed * 20 > visitors.served:
        raise SystemExit("error: more than one in twenty visits was not answered")


def answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    run(str(ROOT / "examples/hello/build.sh"), show=False)
    say("starting the cluster (knarr up)")
    if subprocess.run([str(BIN / "knarr"), "up", "--data-dir", str(DATA)], check=False, cwd=ROOT).returncode != 0:
        raise SystemExit(1)
    began = time.monotonic()
    say("a shop, and an autoscaler for it: one to four pods, half of the CPU that they ask for")
    with applied():
        show(began)
    say(f"it works, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
