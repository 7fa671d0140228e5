"""The composition root: every component in one process and one event loop.

Start: etcd, unless objects lie in memory, then the apiserver, then all others at once; the cluster is ready when its node is.
Stop is the same backwards. A component that fails after the start is made anew and started again;
before that its error ends the start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import orjson

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import StatusError
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import is_true
from knarr.objects.hollow import EVERY_NODE
from knarr.service.access import ReviewedAccess
from knarr.service.authentication import MASTERS, User
from knarr.service.component import Component
from knarr.service.file_marks import FileMarks
from knarr.service.files import PRIVATE, write_whole
from knarr.service.host import Host, ServerSettings
from knarr.service.keypair import KeptPair
from knarr.service.tasks import cancel
from knarr.service.tls import tls_context
from services.apiserver.aggregation.front_proxy import FrontProxy
from services.apiserver.bootstrap import service_names
from services.apiserver.component import ApiServer
from services.apiserver.encryption.reading import encryption
from services.apiserver.kubelet_channels import KubeletChannels
from services.apiserver.named import authorization_modes, plugins
from services.apiserver.rest.application import Application
from services.apiserver.rest.server import Face, RestServer
from services.apiserver.rest_face import rest_face
from services.apiserver.settings import AUTHORIZATION_MODES, ApiServerSettings, IdentitySettings
from services.apiserver.storage.etcd import EtcdSettings
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.tokens.keys import SigningKeys
from services.kubelet.node.lease import LEASE_NAMESPACE
from services.kubelet.parts.port import NodeParts
from services.standalone.auditing import auditor
from services.standalone.component_log import ETCD
from services.standalone.control_plane import give_role, keep_role
from services.standalone.credentials import Credentials, LatestTokens, front_proxy_files, keep_renewed, load_or_create, write_kubeconfig
from services.standalone.etcd_process import EtcdProcess
from services.standalone.fellows.plan import may_have_fellows, running_fellows
from services.standalone.further_nodes import chosen_nodes
from services.standalone.hollow import HOLLOW, node_names, node_numbers, pod_range_count, with_room
from services.standalone.listening import EVERYWHERE, LOOPBACK, rest_hosts, with_ports
from services.standalone.machine import node_address, sudo_caller
from services.standalone.parts import node_parts
from services.standalone.progress import Progress
from services.standalone.runs import Runs
from services.standalone.settings import ClusterSettings, path_of
from services.standalone.switch import Switch
from services.standalone.workers import workers

if TYPE_CHECKING:
    from services.standalone.fellows.keeper import Fellows

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
POLL_SECONDS = 0.01
# Of what a component that failed has said, as long as a container may say at its end.
WORDS_BYTES = 4096
# Components that listen at the node's address: where nodes are reached.
AT_NODE = frozenset({"kubelet", "hollow"})


def _as_it_is(application: Application) -> Face:
    return application


class Cluster:
    """One cluster on this etcd, which may be launched already. ``run`` works until cancelled; it raises when the start fails."""

    def __init__(
        self,
        settings: ClusterSettings,
        progress: Progress,
        etcd: EtcdProcess | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        face: Callable[[Application], Face] = _as_it_is,
        without: frozenset[str] = frozenset(),
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Without an etcd objects lie in memory. ``face`` puts something before the REST face, components ``without`` are not made."""
        self._progress, self._etcd = progress, etcd
        self._clock, self._face, self._without, self._on_ready = clock, face, without, on_ready
        self._files = settings.files
        self._address = node_address()
        self._chosen = with_room(settings)
        self._settings = with_ports(self._chosen, self._address)
        self._hosts: dict[str, Host] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False
        self._announced = asyncio.Event()
        self._marks = FileMarks([self._files.settings])
        self._node_tokens = LatestTokens()
        # Nodes beside its own that run containers, where there may be any.
        self._fellows: Fellows | None = None
        # By component, and etcd.
        self._runs: dict[str, Runs] = {} if etcd is None else {ETCD: etcd.runs}
        # By component: whether it is to run.
        self._switches: defaultdict[str, Switch] = defaultdict(Switch)

    def _runs_of(self, name: str) -> Runs:
        return self._runs.setdefault(name, Runs(self._clock))

    def turn(self, name: str, *, on: bool) -> None:
        """Ends a component's work without a word to anybody, or lets it come again."""
        self._switches[name].turn(on)

    def client(self, user: User) -> Client:
        """The API as somebody sees it, once the API server is there."""
        apiserver = self.components["apiserver"]
        assert isinstance(apiserver, ApiServer)
        return apiserver.client(user)

    @property
    def components(self) -> dict[str, Component]:
        """By name, those that run, or ran last."""
        return {name: host.component for name, host in self._hosts.items()}

    async def run(self) -> None:
        settings = self._settings
        if may_have_fellows(settings):
            # What speaks to an engine is loaded by those alone who have one.
            from services.standalone.fellows.keeper import Fellows

            self._fellows = Fellows(settings, self._address, self._runs_of)
        reached = [host for host in rest_hosts(settings, self._address) if host != EVERYWHERE]
        service = [_first_address(settings.service_cidr), *service_names(settings.cluster_domain)]
        if settings.runtime == HOLLOW:
            # Some may be added while it runs.
            service.append(EVERY_NODE)
        hosts = list(dict.fromkeys([LOOPBACK, "localhost", settings.node, self._address, *reached, *service]))
        etcd = self._etcd
        async with AsyncExitStack() as stack:
            if self._fellows is not None:
                self._fellows.prepare()
            if etcd is not None:
                self._background(stack, "etcd", etcd.run())
                await self._unless_one_ends(etcd.wait_launched())
            # Nobody is served yet, and etcd is at work meanwhile.
            credentials = self._credentials = load_or_create(self._files, hosts)
            self._shown = KeptPair(self._files.pki / "server.crt", self._files.pki / "server.key")
            self._keys = SigningKeys.load(self._files.pki)
            if etcd is not None:
                await self._unless_one_ends(etcd.wait_accepting())
                self._progress.step("etcd")
            apiserver = await self._start_apiserver(stack, etcd, credentials)
            self._progress.step("apiserver")
            made = workers(
                settings,
                self._address,
                credentials.ca_certificate.decode(),
                apiserver.client,
                self._clock,
                parts=self._node_parts,
                latest=lambda: self._settings,
            )
            hollow = made.pop("hollow")
            made = {name: make for name, make in made.items() if name not in self._without}
            if settings.nodes > 1 and settings.runtime == HOLLOW:
                made["hollow"] = hollow
            self._runs |= {name: Runs(self._clock) for name in (*made, "hollow")}
            supervisors = [
                self._background(stack, f"supervise/{name}", self._supervise(name, make, credentials)) for name, make in made.items()
            ]
            # All of them stop together, before the apiserver does.
            stack.push_async_callback(cancel, supervisors)
            if self._fellows is not None:
                self._background(stack, "fellows", self._fellows.run())
            await self._unless_one_ends(self._become_ready(apiserver, made))
            self._announce()
            if settings.runtime == HOLLOW or self._fellows is not None:
                begin = partial(self._supervise, "hollow", hollow, credentials)
                self._background(stack, "nodes", self._follow_nodes(supervisors, begin))
            self._background(stack, "control-plane", keep_role(self._client, settings.node))
            self._background(stack, "certificates", keep_renewed(self._files, hosts, self._server))
            await self._unless_one_ends(asyncio.Event().wait())

    def _background(self, stack: AsyncExitStack, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs ``work``, which should not end by itself, until the stack unwinds."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        stack.push_async_callback(cancel, [task])
        return task

    async def _unless_one_ends(self, work: Coroutine[Any, Any, Any]) -> None:
        """Awaits ``work``; raises the error of a background task that ends meanwhile."""
        waiting = asyncio.create_task(work, name="waiting")
        try:
            await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in (*self._tasks, waiting):
                if task.done():
                    task.result()
        finally:
            await cancel([waiting])

    async def _start_apiserver(self, stack: AsyncExitStack, etcd: EtcdProcess | None, credentials: Credentials) -> ApiServer:
        settings = self._settings

        kubelets = KubeletChannels(credentials.ca_certificate, credentials.apiserver_token)
        stack.push_async_callback(kubelets.close)
        apiserver = ApiServer(
            ApiServerSettings(
                etcd=EtcdSettings(endpoints=(etcd.endpoint,), data_folders=(etcd.folder,)) if etcd is not None else EtcdSettings(),
                service_cidr=settings.service_cidr,
                node_ports=settings.node_ports,
                encryption=encryption(settings.encryption_file),
                encryption_file=settings.encryption_file,
                identity=IdentitySettings(
                    path_of(settings.authentication_config), path_of(settings.authentication_token_webhook_config_file)
                ),
                authorization_file=path_of(settings.authorization_config),
                authorization_modes=authorization_modes(settings.authorization_mode or ",".join(AUTHORIZATION_MODES)),
                enabled_plugins=plugins(settings.enable_admission_plugins),
                disabled_plugins=plugins(settings.disable_admission_plugins),
                advertise_address=self._address,
                advertise_port=settings.ports.rest,
            ),
            kubelets,
            store=MemoryStore() if etcd is None else None,
            clock=self._clock,
            authenticate=credentials.tokens.authenticate,
            front_proxy=FrontProxy(front_proxy_files(self._files.front_proxy, self._files.pki / "ca.crt")),
            keys=self._keys,
            auditor=auditor(settings),
            kubelet_credentials=kubelets.credentials,
        )
        # As this process itself, which looks after the components and is asked who may call them.
        self._client = apiserver.client(User("system:knarr", groups=(MASTERS,)))
        self._runs["apiserver"] = Runs(self._clock)
        self._runs["apiserver"].begin()
        host = self._host(apiserver, credentials, settings.listen_address, settings.ports.apiserver)
        await host.start()
        self._background(stack, "apiserver", host.run())
        await self._unless_one_ends(apiserver.wait_ready())
        if etcd is not None:
            etcd.settle()
        pki = self._files.pki
        context = tls_context(str(pki / "server.crt"), str(pki / "server.key"), str(pki / "ca.crt"))
        rest = RestServer(self._face(rest_face(apiserver)), context, host=rest_hosts(settings, self._address), port=settings.ports.rest)
        await rest.start()
        stack.push_async_callback(rest.stop)
        self._server = f"https://127.0.0.1:{rest.port}"
        write_kubeconfig(self._files.kubeconfig, credentials, self._server)
        return apiserver

    async def _supervise(self, name: str, make: Callable[[], Component], credentials: Credentials) -> None:
        """Keeps one component running; its failure is an error of the start, later a restart."""
        address = self._address if name in AT_NODE else self._settings.listen_address
        while True:
            await self._switches[name].wait_on()
            self._runs[name].begin()
            host = self._host(make(), credentials, address, getattr(self._settings.ports, name))
            try:
                await host.start()
                await self._switches[name].while_on(host.run())
                self._runs[name].end(0)
            except Exception as error:
                if not self._started:
                    raise
                self._runs[name].end(1, f"{type(error).__name__}: {error}"[:WORDS_BYTES])
                log.exception("a component failed; starting it again", extra={"component": name, "seconds": RESTART_SECONDS})
            await asyncio.sleep(RESTART_SECONDS)

    def _node_parts(self) -> NodeParts:
        """How the node shows what runs in this process."""
        return node_parts(self._chosen, self._address, self._runs, self._serves, self._announced.wait, self._rest_port)

    def _rest_port(self) -> int:
        return self._settings.ports.rest

    def _serves(self, name: str) -> bool:
        if name == ETCD:
            return self._etcd is not None and self._etcd.accepts
        return name in self._hosts and self._hosts[name].component.ready

    def _host(self, component: Component, credentials: Credentials, address: str, port: int) -> Host:
        settings = ServerSettings(f"{address}:{port}", self._shown, credentials.tokens)
        if component.name == "kubelet":
            tokens, authorities = credentials.kubelet_tokens(self._settings.node), self._files.pki / "ca.crt"
            settings = replace(settings, tokens=tokens, web_client_ca=authorities)
        if component.name == "hollow":
            self._name_nodes()
            settings = replace(settings, tokens=self._node_tokens)
        if isinstance(component, ApiServer):
            mutual = f"{address}:{self._settings.ports.mutual}"
            settings = replace(
                settings,
                tokens=component.callers,
                impersonate=component.impersonate,
                pace=component.pace,
                client_ca=self._files.pki / "ca.crt",
                mutual_listen=mutual,
                further_mutual=(f"unix:{self._files.door}",) if self._fellows is not None else (),
            )
        else:
            settings = replace(settings, access=ReviewedAccess(self._client, component.right))
        host = Host(component, settings)
        self._hosts[component.name] = host
        return host

    async def _follow_nodes(self, supervisors: list[asyncio.Task[None]], begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Has the nodes beyond the first that `knarr node` chooses. Until cancelled."""
        async for settings in chosen_nodes(self._client, self._settings, self._marks):
            before = self._settings
            self._settings = with_ports(
                replace(before, nodes=settings.nodes, absent_nodes=settings.absent_nodes, stopped_nodes=settings.stopped_nodes),
                self._address,
            )
            if self._fellows is not None:
                if before.nodes == 1 < self._settings.nodes:
                    await self._take_company()
                self._fellows.become(self._settings)
                self._write_state()
                continue
            self._name_nodes()
            if "hollow" in self._hosts:
                self._hosts["hollow"].component.become(node_numbers(self._settings))  # type: ignore[attr-defined]
            elif before.nodes == 1 < self._settings.nodes:
                supervisors.append(asyncio.create_task(begin(), name="supervise/hollow"))
                # No longer: a node that never comes is to be removable.
                await _until(lambda: self._listens("hollow"))
            self._write_state()

    async def _take_company(self) -> None:
        """Has the proxy of the cluster's own node lead to others: it is made anew, and meanwhile what it has put in force stays."""
        self.turn("proxy", on=False)
        await _until(lambda: self._rests("proxy"))
        self.turn("proxy", on=True)

    async def _rests(self, name: str) -> bool:
        return self._runs[name].began is None

    def _name_nodes(self) -> None:
        """Who may call the simulated nodes that there are."""
        self._node_tokens.table = self._credentials.kubelet_tokens(*node_names(self._settings))

    async def _become_ready(self, apiserver: ApiServer, names: Iterable[str]) -> None:
        """Returns once every component is ready and the node says so too."""
        begun = self._clock.now()
        for name in names:
            await _until(lambda name=name: self._is_ready(name))  # type: ignore[misc]
            self._progress.step(name)
        await _until(lambda: _node_ready(self._client, self._settings.node))
        for fellow in running_fellows(self._settings):
            # Of one that was killed a moment ago the Node says what it said then.
            await _until(lambda name=fellow.name: node_heard(self._client, name, begun))  # type: ignore[misc]
            await _until(lambda name=fellow.name: _node_ready(self._client, name))  # type: ignore[misc]
            self._progress.step(fellow.name)
        await give_role(self._client, await self._client.get(core.Node, self._settings.node))

    async def _listens(self, name: str) -> bool:
        return name in self._hosts and self._hosts[name].port > 0

    async def _is_ready(self, name: str) -> bool:
        return self._serves(name)

    def _announce(self) -> None:
        """Tells the CLI and `knarr status` what there is."""
        self._started = True
        facts = self._write_state()
        self._progress.ready(facts)
        self._announced.set()
        self._on_ready()

    def _write_state(self) -> dict[str, Any]:
        """What the cluster tells of itself, which it answers, too."""
        addresses = {
            name: f"{self._address if name in AT_NODE else self._settings.listen_address}:{host.port}" for name, host in self._hosts.items()
        }
        facts = {
            "server": self._server,
            "node": self._settings.node,
            "runtime": self._settings.runtime,
            "datapath": self._settings.datapath,
            "components": addresses,
            # What `knarr node` needs to know: that it is listened to, and for how many nodes there are addresses.
            "pod_ranges": pod_range_count(self._settings),
        }
        write_whole(self._files.state, orjson.dumps(facts, option=orjson.OPT_INDENT_2), mode=PRIVATE)
        if caller := sudo_caller():
            self._files.hand_over(*caller)
        return facts


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again: readiness is a property of components, not an event."""
    while not await condition():  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


async def _node_ready(client: Any, name: str) -> bool:
    try:
        node: core.Node = await client.get(core.Node, name)
    except StatusError:
        return False
    return is_true(node.status, "Ready")


async def node_heard(client: Any, name: str, since: datetime) -> bool:
    """Whether a node's kubelet has given a sign of life by then."""
    try:
        lease: coordination.Lease = await client.get(coordination.Lease, name, LEASE_NAMESPACE)
    except StatusError:
        return False
    return to_datetime(lease.spec.renew_time) >= since


def _first_address(cidr: str) -> str:
    """The `kubernetes` Service's address."""
    return str(IPv4Network(cidr)[1])
