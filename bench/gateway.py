"""The gateway: requests through it beside HAProxy with rules written by hand and nginx, how soon a changed route is in force, and how long
many take.

A route that leads to a Service without endpoints is answered 503, one that is not there 404: by that it is seen when one is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvloop

from bench.peers import resident_bytes
from bench.result import Result
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.networking.v1 import networking_pb2 as networking
from services.apiserver.in_memory import ApiInMemory
from services.gateway.component import Gateway
from services.gateway.haproxy.frontends import Bind
from services.gateway.haproxy.process import Haproxy, most_connections
from services.gateway.haproxy.program import Limits, Program, Reload
from services.gateway.rest import CONTROLLER
from services.gateway.routing.actions import Action, Server, Target, Weighted
from services.gateway.routing.table import Match, Origin, Route
from services.gateway.settings import GatewaySettings

LOOPBACK = "127.0.0.1"
HTTP_PORT, HTTPS_PORT, PEER_PORT, NGINX_PORT, BACKEND_PORT = 27180, 27143, 27181, 27182, 27190
ROUTES, MANY, SERVICES = 1000, 10_000, 1000
CHANGES = 40
CHANGE_MILLISECONDS, LOAD_SECONDS, FACTOR = 200.0, 10.0, 0.9
WAIT_SECONDS, WRK_SECONDS, ROUNDS = 120.0, 4, 3
HOSTS = 50
NAMESPACE = "default"
_PER_SECOND = re.compile(r"Requests/sec:\s+([\d.]+)")

BY_HAND = """global
  nbthread 1
  maxconn 4000
defaults
  mode http
  maxconn 4000
  balance roundrobin
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response
  timeout connect 3s
  timeout client 60s
  timeout server 60s
frontend web
  bind {address}:{port}
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port 80
  use_backend %[req.hdr(host),lower,map_str({folder}/hosts.map)]
{backends}
"""
NGINX = """daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr crit; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
{body} }}
"""


def ingress(number: int, path: str = "/") -> networking.Ingress:
    made = networking.Ingress()
    made.metadata.namespace, made.metadata.name = NAMESPACE, f"i{number}"
    made.spec.ingress_class_name = "knarr"
    rule = made.spec.rules.add(host=f"h{number}.example")
    entry = rule.ingress_rule_value.http.paths.add(path=path, path_type="Prefix")
    entry.backend.service.name = f"s{number % SERVICES}"
    entry.backend.service.port.number = 80
    return made


def world(count: int) -> ApiInMemory:
    """A class, Services, and as many Ingresses."""
    api = ApiInMemory()
    made = networking.IngressClass()
    made.metadata.name = "knarr"
    made.spec.controller = CONTROLLER
    api.seed(made)
    for number in range(min(SERVICES, count)):
        service = core.Service()
        service.metadata.namespace, service.metadata.name = NAMESPACE, f"s{number}"
        service.spec.cluster_ip = f"10.96.{number // 250 + 1}.{number % 250 + 1}"
        service.spec.ports.add(port=80, protocol="TCP")
        api.seed(service)
    for number in range(count):
        api.seed(ingress(number))
    return api


@contextlib.asynccontextmanager
async def served(api: ApiInMemory, folder: Path) -> AsyncIterator[Gateway]:
    settings = GatewaySettings(folder, (LOOPBACK,), HTTP_PORT, HTTPS_PORT, connections=2000)
    gateway = Gateway(api.client(), settings)
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def status(host: str, path: str = "/") -> int:
    """What a request is answered; 0 while nobody listens."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, HTTP_PORT)
    except OSError:
        return 0
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except OSError:
        return 0
    finally:
        writer.close()


async def until_served(host: str, path: str = "/") -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await status(host, path) != 503:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def gateway_change() -> list[Result]:
    """From a write until the route is in force, among many: of a path, and of one that needs a new configuration."""
    with tempfile.TemporaryDirectory() as folder:
        async with world(ROUTES) as api, served(api, Path(folder)) as gateway:
            await until_served(f"h{ROUTES - 1}.example")
            plain = await _changes(api, {})
            memory = await _memory(gateway)
            renewed = await _changes(api, {"nginx.ingress.kubernetes.io/proxy-body-size": "{number}m"})
    target = f"≤ {CHANGE_MILLISECONDS:.0f} ms"
    peer = "none"
    return [
        Result("gateway-change", plain, "ms p99", peer, 0.0, target, plain <= CHANGE_MILLISECONDS),
        Result("gateway-change-anew", renewed, "ms p99", peer, 0.0, target, renewed <= CHANGE_MILLISECONDS),
        Result("gateway-memory", memory, f"MiB at {ROUTES:,}", peer, 0.0, "none: told", True),
    ]


async def _changes(api: ApiInMemory, annotations: dict[str, str]) -> float:
    client = api.client()
    took = []
    for number in range(CHANGES):
        path = f"/p{number}{len(annotations)}"
        found = await client.get(networking.Ingress, f"i{number}", NAMESPACE)
        found.spec.rules[0].ingress_rule_value.http.paths[0].path = path
        for key, value in annotations.items():
            found.metadata.annotations[key] = value.format(number=number + 1)
        assert await status(f"h{number}.example", "/elsewhere") != 0
        began = time.perf_counter()
        await client.update(found)
        await _until_only(f"h{number}.example", path)
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took)[-1 - len(took) // 100]


async def _until_only(host: str, path: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await status(host, path) != 503 or await status(host, "/") != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def gateway_load() -> list[Result]:
    """From the start of the component until the last of many routes is in force."""
    with tempfile.TemporaryDirectory() as folder:
        async with world(MANY) as api:
            began = time.perf_counter()
            async with served(api, Path(folder)) as gateway:
                await until_served(f"h{MANY - 1}.example")
                took = time.perf_counter() - began
                memory = await _memory(gateway)
    return [
        Result("gateway-load", took, f"s for {MANY:,}", "none", 0.0, f"≤ {LOAD_SECONDS:.0f} s", took <= LOAD_SECONDS),
        Result("gateway-load-memory", memory, f"MiB at {MANY:,}", "none", 0.0, "none: told", True),
    ]


async def _memory(gateway: Gateway) -> float:
    """Of the proxy, MiB."""
    # While one process takes over from another there is none for a moment.
    while not (pid := gateway.instance.executor.process.pid):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return resident_bytes(pid) / (1 << 20)


async def gateway_rate() -> list[Result]:
    """Requests per second through each, in turn, with one thread, before the same backends."""
    found: dict[str, list[float]] = {"own": [], "by hand": [], "nginx": []}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        async with _backends(folder), _own(folder), _by_hand(folder), _nginx(folder):
            for _ in range(ROUNDS):
                for name, port in (("own", HTTP_PORT), ("by hand", PEER_PORT), ("nginx", NGINX_PORT)):
                    found[name].append(await _wrk(port))
    own, by_hand, nginx = (sorted(each)[len(each) // 2] for each in found.values())
    peer = f"HAProxy by hand with the same headers and retries, 1 thread (nginx {nginx:,.0f})"
    return [Result("gateway-rate", own, "/s", peer, by_hand, f"≥ {FACTOR:g} × HAProxy", own >= FACTOR * by_hand)]


async def _wrk(port: int) -> float:
    words = ["wrk", "-t1", "-c32", f"-d{WRK_SECONDS}s", "-H", f"Host: h{HOSTS // 2}.example", f"http://{LOOPBACK}:{port}/x"]
    child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    text = output.decode()
    match = _PER_SECOND.search(text)
    if match is None or "Non-2xx" in text:
        raise RuntimeError(f"wrk: {text}")
    return float(match[1])


@contextlib.asynccontextmanager
async def _own(folder: Path) -> AsyncIterator[None]:
    program = Program(Limits(1, most_connections(4000)), [Bind(80, ((LOOPBACK, HTTP_PORT),), tls=False)])
    origin = Origin("Ingress", NAMESPACE, "x")
    targets = [Target(NAMESPACE, f"s{number}", "80") for number in range(HOSTS)]
    program.put(
        origin, [Route(80, f"h{number}.example", Match(), Action((Weighted(target),)), origin) for number, target in enumerate(targets)]
    )
    for target in targets:
        program.put_endpoints(target, tuple(Server(LOOPBACK, BACKEND_PORT + number) for number in range(2)))
    change = program.change()
    assert isinstance(change, Reload)
    process = Haproxy(folder / "own")
    task = asyncio.create_task(process.run())
    try:
        await process.reload(change)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _by_hand(folder: Path) -> AsyncIterator[None]:
    servers = "\n".join(f"  server s{number} {LOOPBACK}:{BACKEND_PORT + number}" for number in range(2))
    backends = "\n".join(f"backend b{number}\n{servers}" for number in range(HOSTS))
    (folder / "hosts.map").write_text("".join(f"h{number}.example b{number}\n" for number in range(HOSTS)))
    (folder / "hand.cfg").write_text(BY_HAND.format(address=LOOPBACK, port=PEER_PORT, folder=folder, backends=backends))
    async with _process("haproxy", "-db", "-f", str(folder / "hand.cfg"), port=PEER_PORT):
        yield


@contextlib.asynccontextmanager
async def _nginx(folder: Path) -> AsyncIterator[None]:
    servers = " ".join(f"server {LOOPBACK}:{BACKEND_PORT + number};" for number in range(2))
    headers = " ".join(
        f"proxy_set_header {name} {value};"
        for name, value in (
            ("Connection", '""'),
            ("X-Forwarded-For", "$remote_addr"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "$host"),
            ("X-Forwarded-Port", "80"),
        )
    )
    body = "\n".join(
        f"upstream b{number} {{ {servers} keepalive 64; }} server {{ listen {LOOPBACK}:{NGINX_PORT}; server_name h{number}.example;"
        f" location / {{ proxy_http_version 1.1; {headers} proxy_pass http://b{number}; }} }}"
        for number in range(HOSTS)
    )
    async with _nginx_process(folder, "peer", body, NGINX_PORT):
        yield


@contextlib.asynccontextmanager
async def _backends(folder: Path) -> AsyncIterator[None]:
    body = "\n".join(f"server {{ listen {LOOPBACK}:{BACKEND_PORT + number}; location / {{ return 200 ok; }} }}" for number in range(2))
    async with _nginx_process(folder, "backends", body, BACKEND_PORT):
        yield


@contextlib.asynccontextmanager
async def _nginx_process(folder: Path, name: str, body: str, port: int) -> AsyncIterator[None]:
    (folder / f"{name}.conf").write_text(NGINX.format(folder=folder, name=name, body=body))
    async with _process("nginx", "-c", str(folder / f"{name}.conf"), "-p", str(folder), port=port):
        yield


@contextlib.asynccontextmanager
async def _process(*words: str, port: int) -> AsyncIterator[None]:
    program = shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError(f"{words[0]} is not installed: scripts/install.sh --bench")
    child = await asyncio.create_subprocess_exec(program, *words[1:], stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await _listens(port):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield
    finally:
        child.terminate()
        await child.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


def main(names: Sequence[str] = ("change", "load", "rate")) -> None:
    """`python -m bench.gateway`: these figures alone."""
    for name in names:
        for result in uvloop.run({"change": gateway_change, "load": gateway_load, "rate": gateway_rate}[name]()):
            print(result.as_dict(), flush=True)


if __name__ == "__main__":
    main()
