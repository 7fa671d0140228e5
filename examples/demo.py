"""The main job, seen from outside: an app from a manifest, load-balanced, healed and scaled.

Run by ``make demo``. Uses only kubectl, docker and plain HTTP, as anybody would; exits 1 and says
what was expected when something is not as it should be.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DATA = ROOT / ".knarr"
KUBECTL = [str(BIN / "kubectl"), "--kubeconfig", str(DATA / "kubeconfig")]
WAIT_SECONDS = 60.0


def say(text: str) -> None:
    print(f"\033[1m==>\033[0m {text}", flush=True)


@contextmanager
def timed(text: str) -> Iterator[None]:
    """Says what is being done, and afterwards how long it took."""
    say(text)
    started = time.monotonic()
    yield
    print(f"    {time.monotonic() - started:.1f} s", flush=True)


def run(*command: str, show: bool = True) -> str:
    """Runs a command, shows it and its output, and ends the demo with its error if it fails."""
    if show:
        print(f"    $ {' '.join(command).replace(' '.join(KUBECTL), 'kubectl').replace(str(ROOT) + '/', '')}", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)} failed:\n{done.stderr or done.stdout}see {DATA}/knarr.log")
    if show and done.stdout:
        print("".join(f"    {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    return done.stdout


def kubectl(*arguments: str, show: bool = True) -> str:
    return run(*KUBECTL, *arguments, show=show)


def get(*arguments: str) -> Any:
    return json.loads(kubectl("get", *arguments, "-o", "json", show=False))


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    """Polls from outside until the condition holds; says what was waited for when it does not."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    kubectl("get", "pods", "-o", "wide")
    kubectl("get", "events", "--sort-by=.lastTimestamp")
    raise SystemExit(f"error: waited {WAIT_SECONDS:.0f} s in vain for {what}; the log is {DATA}/knarr.log")


def ask(url: str) -> str:
    """One request on a connection of its own; the pod's name."""
    # A proxy that the environment names does not know the cluster.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
        return str(answer.read().decode().split()[-1])


def ready_pods() -> list[dict[str, Any]]:
    pods = get("pods", "-l", "app=hello")["items"]
    return [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]


def is_ready(pod: dict[str, Any]) -> bool:
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in pod["status"].get("conditions", []))


def route_known(url: str, names: set[str]) -> bool:
    """Whether the Service reaches each of ``names`` and nobody else."""
    try:
        return {ask(url) for _ in range(2 * len(names))} == names
    except (urllib.error.URLError, OSError):
        return False


def round_robin(url: str, names: set[str]) -> None:
    say("nine requests to the Service, one connection each")
    wait_for("the Service to reach all three pods", lambda: route_known(url, names))
    answers = [ask(url) for _ in range(9)]
    print("    " + "\n    ".join(f"{number}. {name}" for number, name in enumerate(answers, start=1)))
    counts = collections.Counter(answers)
    if sorted(counts.values()) != [3, 3, 3] or answers[:3] != answers[3:6] or answers[3:6] != answers[6:]:
        raise SystemExit(f"error: expected three pods answering in turn, got {dict(counts)}")
    print("    three each, in turn")


def by_name() -> None:
    """What people do in a browser; on a machine where somebody has port 80 the Ingress says so."""
    say("the same by its name: http://hello.localhost/ (examples/ingress.yaml)")
    kubectl("apply", "-f", "examples/ingress.yaml")
    port = json.loads((DATA / "settings.json").read_text())["ports"]["gateway_http"]
    answer = wait_for("an answer by name", lambda: _named(port) or _not_served())
    print(f"    {answer}")


def _named(port: int) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "hello.localhost"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return f"answered by {answer.read().decode().split()[-1]}"
    except (urllib.error.URLError, OSError):
        return ""


def _not_served() -> str:
    events = get("events", "--field-selector", "reason=NotServed")["items"]
    return f"not served: {events[-1]['message']}" if events else ""


def heal() -> None:
    victim = ready_pods()[0]
    name = victim["metadata"]["name"]
    container = victim["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")
    with timed(f"killing the container of {name}"):
        run("docker", "kill", container[:12])

        def restarted() -> bool:
            pod = get("pod", name)
            status = pod["status"]["containerStatuses"][0]
            return bool(status["restartCount"] >= 1 and is_ready(pod) and container not in status["containerID"])

        wait_for("the container to be replaced", restarted)
    kubectl("get", "pods", "-l", "app=hello")


def scale() -> None:
    with timed("scaling to 5"):
        kubectl("scale", "deployment/hello", "--replicas=5")
        kubectl("rollout", "status", "deployment/hello", "--timeout=60s", show=False)
    kubectl("get", "deployment,replicaset,pods,service", "-l", "app=hello", "-o", "wide")


def main() -> None:
    run(str(ROOT / "examples/hello/build.sh"), show=False)
    say("starting the cluster (knarr up)")
    if subprocess.run([str(BIN / "knarr"), "up", "--data-dir", str(DATA)], check=False, cwd=ROOT).returncode != 0:
        raise SystemExit(1)
    with timed("applying examples/hello.yaml"):
        kubectl("apply", "-f", "examples/hello.yaml")
        kubectl("scale", "deployment/hello", "--replicas=3", show=False)
        kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    pods = wait_for("three ready pods", lambda: found if len(found := ready_pods()) == 3 else None)
    kubectl("get", "pods", "-l", "app=hello", "-o", "wide")
    cluster_ip = get("service", "hello")["spec"]["clusterIP"]
    round_robin(f"http://{cluster_ip}/", {pod["metadata"]["name"] for pod in pods})
    by_name()
    heal()
    scale()
    say("it works. Try next:")
    sudo = "" if os.geteuid() == 0 and "SUDO_USER" not in os.environ else "sudo "
    print(f"""
    export PATH=$PWD/.venv/bin:$PATH KUBECONFIG=$PWD/.knarr/kubeconfig
    kubectl get all -A
    kubectl logs -f deployment/hello
    kubectl exec -it deployment/hello -- sh
    kubectl set image deployment/hello web=hello:2      # no such image: watch the rollout wait, then
    kubectl rollout undo deployment/hello
    curl http://localhost:30080/
    grpcurl -cacert .knarr/pki/ca.crt -H "authorization: Bearer $({sudo}cat .knarr/token)" localhost:10259 list
    make down
""")


if __name__ == "__main__":
    main()
