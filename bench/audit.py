"""What the audit log costs: GET, LIST and create of the API server's own processor time, with the log at level Metadata and without."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.api import CREATE_SCRIPT, pod, wrk
from bench.cluster import Server, session
from bench.kube_apiserver import cpu_seconds
from bench.reads import ACCOUNTS, CONFIG_MAPS, PODS, config_map
from bench.result import Result
from knarr.service.authentication import TokenTable, User, hash_token
from tests.support.components import Components

LISTED_PODS, MADE_AT_ONCE = 100, 25
# Many short ones, each side first in every second: what else the machine does befalls both.
ROUNDS, ROUND_SECONDS = 11, 2
LIMIT = 1.10
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
# Requests of people, who are not exempt from fairness.
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
VIEWERS = {
    "metadata": {"name": "people"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name} for name in ("quiet", "noisy")],
}
PEOPLE = {name: User(name, groups=("system:authenticated",)) for name in ("quiet", "noisy")}


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked again and again, by so many connections at once."""

    name: str
    path: str
    connections: int
    script: str = ""


KINDS = (
    Kind("get", f"{CONFIG_MAPS}/one", 16),
    Kind("list", f"{PODS}?resourceVersion=0", 4),
    Kind("create", CONFIG_MAPS, 16, CREATE_SCRIPT),
)


class Alone(Components):
    """An API server over an etcd of its own, with these options besides, which knows two people too."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.more: Mapping[str, tuple[str, ...]] = {"apiserver": options}
        super().__init__(folder)

    def _make_trust(self) -> None:
        super()._make_trust()
        path = self.data_dir / "tokens.csv"
        known = TokenTable.load(path)
        people = TokenTable({hash_token(f"secret-of-{name}"): user for name, user in PEOPLE.items()})
        people.save(self.data_dir / "people.csv")
        known.save(path)
        path.write_text(path.read_text() + (self.data_dir / "people.csv").read_text())

    @property
    def pid(self) -> int:
        return self.processes["apiserver"].pid


# A server, and as whom it is asked.
Asked = tuple[Alone, Server]


@asynccontextmanager
async def alone(*options: str) -> AsyncIterator[Asked]:
    """Ready, as its administrator sees it."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        side = Alone(Path(folder), options)
        await asyncio.to_thread(side.etcd.start)
        try:
            side.start("apiserver")
            async with session(side.data_dir / "ca.crt", "secret-of-admin") as shown:
                server = Server(side.server, "secret-of-admin", shown)
                await server.wait_until_ready(lambda: (side.data_dir / "apiserver.log").read_text()[-4000:])
                await server.request("POST", ACCOUNTS, {"metadata": {"name": "default"}, "automountServiceAccountToken": False})
                await server.request("POST", CONFIG_MAPS, config_map("one"))
                await server.request("POST", BINDINGS, VIEWERS)
                yield side, server
        finally:
            await asyncio.to_thread(side.stop)


async def audit_overhead() -> list[Result]:
    """By the round of the median ratio."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        log, options = logging(Path(folder))
        async with alone() as (without, plain), alone(*options) as (within, audited):
            sides = (without, plain), (within, audited)
            await fill(plain, audited)
            found = [judged("audit", kind, await compared(kind, *sides), beside="without a log") for kind in KINDS]
            print(f"  {log.stat().st_size / 1e6:.0f} MB of log", flush=True)
    return found


def logging(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Where the log is, and the options by which a server keeps it."""
    policy, log = folder / "policy.yaml", folder / "audit.log"
    policy.write_text(POLICY)
    return log, (f"--audit-policy-file={policy}", f"--audit-log-path={log}")


async def fill(*servers: Server, spec: Mapping[str, Any] | None = None) -> None:
    """Makes the pods that are listed; ``spec``: that of each of them, instead of the usual one."""
    made = [pod(f"p{number}") | ({"spec": spec} if spec is not None else {}) for number in range(LISTED_PODS)]
    for server in servers:
        for first in range(0, LISTED_PODS, MADE_AT_ONCE):
            await asyncio.gather(*(server.request("POST", PODS, one) for one in made[first : first + MADE_AT_ONCE]))


async def compared(kind: Kind, without: Asked, within: Asked, rounds: int = ROUNDS) -> list[tuple[float, float]]:
    """The same asked of two servers in turn: what a request costs the one and the other, by round."""
    costs: list[tuple[float, float]] = []
    for number in range(rounds):
        filled = kind.script.format(run=f"{time.monotonic_ns()}", filling="x" * 900) if kind.script else ""
        if number % 2:
            own = await _cost(without, kind, filled)
        kept = await _cost(within, kind, filled)
        if not number % 2:
            own = await _cost(without, kind, filled)
        costs.append((own, kept))
    return costs


def judged(family: str, kind: Kind, costs: list[tuple[float, float]], *, beside: str) -> Result:
    """By the round of the median ratio, not the best one."""
    own, kept = sorted(costs, key=lambda pair: pair[1] / pair[0])[len(costs) // 2]
    name = f"{family}-{kind.name}"
    print(f"  {name}: {' '.join(f'{after / before:.3f}' for before, after in costs)} times the time of its own", flush=True)
    return Result(name, kept, "µs", beside, own, f"≤ {LIMIT:g} × without", kept <= LIMIT * own)


async def _cost(asked: Asked, kind: Kind, script: str) -> float:
    """Microseconds of the API server's own for one answer."""
    side, server = asked
    before, started = cpu_seconds(side.pid), time.monotonic()
    rate = await wrk(server, kind.path, connections=kind.connections, script=script, seconds=ROUND_SECONDS)
    return 1e6 * (cpu_seconds(side.pid) - before) / (rate * (time.monotonic() - started))
