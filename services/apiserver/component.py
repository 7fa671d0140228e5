"""The API server as a component: store, cache, pipeline and the gRPC face, wired together.

The REST face is made from ``api`` by ``services.apiserver.rest``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import grpc

from knarr.api.apiserver.v1 import authorization_service_pb2 as authorization_service
from knarr.api.apiserver.v1 import authorization_service_pb2_grpc as authorization_grpc
from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import EventRecorder
from knarr.machinery import catalog
from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Registry, Resource
from knarr.service.authentication import User
from knarr.service.component import Component
from knarr.service.loop_lag import LoopLag
from services.apiserver import metrics
from services.apiserver.admission.catalog import PLUGINS, Factory, asking, asking_permission, chain, chosen, configured, mounting_tokens
from services.apiserver.admission.outside import Outside
from services.apiserver.aggregation.front_proxy import FrontProxy
from services.apiserver.aggregation.keeper import Aggregation
from services.apiserver.aggregation.local import LocalServices
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.allocators.numbers import NumberRange
from services.apiserver.allocators.repair import Repairer, repair
from services.apiserver.allocators.services import ServiceAllocators
from services.apiserver.announcement import Announcer
from services.apiserver.api import Api
from services.apiserver.audit.auditor import Auditor
from services.apiserver.authorization import Authorizer
from services.apiserver.authorization_servicer import AuthorizationServicer
from services.apiserver.authorizers.catalog import Parts, modes
from services.apiserver.authorizers.chain import Chain
from services.apiserver.authorizers.reloading import Reloading
from services.apiserver.backend import Backend
from services.apiserver.bootstrap import USER, bootstrap
from services.apiserver.cache.feed import Feed
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.compaction import Compactor
from services.apiserver.conversion.conversions import Conversions
from services.apiserver.definitions.keeper import Definitions
from services.apiserver.encryption.reloading import EncryptionFile
from services.apiserver.fairness.fairness import Fairness
from services.apiserver.fairness.flows import Flows
from services.apiserver.fairness.paced import Caller, Paced
from services.apiserver.fairness.upkeep import keep_fairness
from services.apiserver.identity.impersonation import Impersonation
from services.apiserver.identity.known import Known
from services.apiserver.local import LocalClient
from services.apiserver.node_stats import GrpcNodeStats
from services.apiserver.node_streams import ChannelFactory, CredentialsOf, GrpcNodeStreams
from services.apiserver.pipeline.pipeline import Pipeline, nobody
from services.apiserver.policy_types import PolicyTypes
from services.apiserver.rbac.bootstrap import reconcile_roles
from services.apiserver.rbac.escalation import RoleEscalation
from services.apiserver.rbac.grants import Grants
from services.apiserver.service_range import keep_service_range
from services.apiserver.servicer import ResourceServicer
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.etcd import EtcdStore
from services.apiserver.storage.store import Store
from services.apiserver.storage.values import Values
from services.apiserver.strategies import Strategies
from services.apiserver.strategies.event import event_strategies
from services.apiserver.switches import Switches
from services.apiserver.tokens.accounts import ServiceAccountTokens
from services.apiserver.tokens.keys import SigningKeys
from services.apiserver.upkeep import Upkeep
from services.apiserver.ways import Ways

if TYPE_CHECKING:
    from services.apiserver.webhooks.client import WebhookClient

log = logging.getLogger(__name__)

MEASURE_SECONDS = 5.0
RETRY_SECONDS = 0.5
# At once, of webhooks that admission asks.
ADMISSION_CONNECTIONS, ADMISSION_CONNECTIONS_OF_A_HOOK = 512, 128


class ApiServer(Component):
    """``api`` works as soon as ``run`` has loaded the cache; before that requests wait for it.

    Objects lie in etcd, in which case the server is made inside a running event loop, or in ``store`` when one is given.
    ``clock`` stamps them, ``source`` makes their names, uids, addresses and ports; ``plugins`` admit them, ``authorizer`` says who
    may ask for them, ``authenticate`` whose a token is that is no service account's. ``keys`` sign those; without them none are issued.
    ``registry`` is what is served, the built-in resources unless given; it may change while the server runs. By ``front_proxy`` it is known
    to the API servers of others; without one they are not told who asks. ``auditor`` keeps the audit log, where one is kept.
    ``kubelet_credentials`` are those by which requests are passed on to the kubelet of a node.
    """

    name: ClassVar[str] = "apiserver"

    def __init__(
        self,
        settings: ApiServerSettings,
        kubelet_channel: ChannelFactory,
        registry: Registry | None = None,
        *,
        store: Store | None = None,
        clock: Clock = SYSTEM_CLOCK,
        source: random.Random | None = None,
        plugins: Sequence[Factory] = PLUGINS,
        authorizer: Authorizer | None = None,
        authenticate: Callable[[str], User] = nobody,
        front_proxy: FrontProxy | None = None,
        keys: SigningKeys | None = None,
        auditor: Auditor | None = None,
        kubelet_credentials: CredentialsOf = lambda node: None,
    ) -> None:
        self.auditor = auditor
        self._settings, self._front_proxy = settings, front_proxy
        source = source or random.Random()
        self.registry = registry or catalog.registry(settings.revived_versions)
        self._store = store or EtcdStore(settings.etcd)
        cache = WatchCache(self.registry, settings.history, _loop_seconds, Values(settings.storage_versions, settings.encryption))
        self.feed = Feed(self._store, cache)
        self.backend = Backend(
            self._store,
            cache,
            self.feed,
            waits=settings.waits,
            shared=settings.shared_store,
            clock=lambda: clock.now().replace(microsecond=0),
            source=source,
        )
        addresses, ports = AddressRange(settings.service_cidr), NumberRange(*settings.node_ports)
        self.allocators = ServiceAllocators(self._store, addresses, ports, source)
        plugins = chosen(plugins, settings.enabled_plugins, settings.disabled_plugins)
        plugins = configured(plugins, settings.plugin_configurations)
        if keys is not None:
            plugins = mounting_tokens(plugins)
        grants = Grants(cache)
        parts = Parts(cache, grants)
        self._follows_authorizers: Reloading | None = None
        if authorizer is None:
            authorizer = chain_of_modes = Chain(modes(parts, settings.authorization_modes))
            if settings.authorization_file is not None:
                self._follows_authorizers = Reloading(settings.authorization_file, chain_of_modes, parts)
        # Knows whoever calls, for the faces.
        accounts = ServiceAccountTokens(keys, self.backend) if keys is not None else None
        self.uses = accounts.uses if accounts is not None else None
        self.known = Known(settings.identity, self.backend, authenticate, accounts)
        self.callers = self.known.callers
        strategies = Strategies(event_strategies(settings.event_ttl_seconds))
        conversions = Conversions(self._webhook_client, source)
        self._admission_client: WebhookClient | None = None
        outside = Outside(self._asking_client, conversions, authorizer, strategies)
        plugins = asking_permission(plugins, authorizer)
        self.api = Api(
            Pipeline(
                self.backend,
                admission=chain(self.backend, [*asking(plugins, outside), lambda backend: RoleEscalation(grants, authorizer)]),
                allocators=self.allocators,
                authorizer=authorizer,
                callers=self.callers,
                strategies=strategies,
                node_streams=GrpcNodeStreams(kubelet_channel),
                conversions=conversions,
                node_stats=GrpcNodeStats(kubelet_channel),
                kubelet_credentials=kubelet_credentials,
                auditor=auditor,
                fairness=Fairness(Flows(cache, settings.requests_at_once)) if settings.requests_at_once else None,
            )
        )
        self.registry.subscribe(self._forget)
        self.definitions = Definitions(self.api, self.registry, self.backend.clock)
        self.aggregation = Aggregation(self.api, Ways(self.backend, self.api.pipeline.node_streams), self.backend.clock, front_proxy)
        self._policy_types = PolicyTypes(self.client(USER), self.backend, self.registry)
        self._local_services = LocalServices(self.client(USER), self.registry, cache)
        self._switches = Switches(self.registry, cache)
        self.feed.on_loaded = self._load
        self._recorder = EventRecorder(self.client(USER), self.name, clock=clock)
        announced = settings.advertise_address, settings.advertise_port
        self._announcer = Announcer(self.client(USER), *announced, shared=settings.shared_store, clock=clock)
        self._bootstrapped = asyncio.Event()
        # What keeps etcd from taking writes, in words: its data has no room.
        self._trouble = ""

    def _webhook_client(self) -> WebhookClient:
        # A client of HTTP takes some MB, and most clusters have no webhooks.
        from services.apiserver.webhooks.client import WebhookClient

        return WebhookClient(Ways(self.backend, self.api.pipeline.node_streams))

    def _asking_client(self) -> WebhookClient:
        """What admission asks with: each write may, and so there are more connections than conversions need."""
        if self._admission_client is None:
            from services.apiserver.webhooks.client import WebhookClient

            ways = Ways(self.backend, self.api.pipeline.node_streams)
            self._admission_client = WebhookClient(ways, ADMISSION_CONNECTIONS, ADMISSION_CONNECTIONS_OF_A_HOOK)
        return self._admission_client

    async def hang_up(self) -> None:
        """Ends what is asked of webhooks, and the connections to them."""
        await self.api.pipeline.conversions.close()
        if self._admission_client is not None:
            await self._admission_client.close()

    def _load(self) -> None:
        self._switches.load()
        self.definitions.load()
        self.aggregation.load()

    def _forget(self, old: Resource | None, new: Resource | None) -> None:
        """Lets go of what is kept about a resource that is served no more, or otherwise."""
        if old is None:
            return
        self.api.pipeline.admission.forget(old)
        if new is None and all(other.plural != old.plural for other in self.registry):
            metrics.forget(old.plural, old.storage.qualified)

    @property
    def ready(self) -> bool:
        """Whether requests are answered: the cache is loaded and the cluster's first objects exist."""
        return self.feed.synced.is_set() and self._bootstrapped.is_set()

    @property
    def connected(self) -> bool:
        """Whether the watch on etcd stands right now."""
        return self.feed.connected

    @property
    def checks(self) -> dict[str, Callable[[], bool]]:
        """What readiness asks: that etcd is there and takes writes, and that requests are answered."""
        return {"etcd": lambda: self.connected, "etcd-space": lambda: not self._trouble, "cache": lambda: self.ready}

    async def wait_ready(self) -> None:
        await self._bootstrapped.wait()

    async def withdraw(self) -> None:
        """Lets no pod come to this server any more; it goes on to answer."""
        await self._announcer.withdraw()

    def pace(self, user: User, answering: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
        """How a call of the gRPC face is done: in fair order with all others, where there is any."""
        fairness = self.api.fairness
        return answering if fairness is None else Paced(fairness.rounds, Caller(user.name), answering, is_admitted=False)

    async def impersonate(self, user: User, metadata: Iterable[tuple[str, str | bytes]]) -> User:
        """Whom a caller of the gRPC face plays; raises Forbidden, BadRequest."""
        return await self.api.impersonate(user, Impersonation.of_metadata(metadata))

    def client(self, user: User) -> LocalClient:
        """A client for components in this process."""
        return LocalClient(self.api, user, self.registry)

    def register(self, server: grpc.aio.Server) -> list[str]:
        face_grpc.add_ResourceServiceServicer_to_server(ResourceServicer(self.api, self.registry), server)
        authorization_grpc.add_AuthorizationServiceServicer_to_server(AuthorizationServicer(self.api), server)
        return [
            face.DESCRIPTOR.services_by_name["ResourceService"].full_name,
            authorization_service.DESCRIPTOR.services_by_name["AuthorizationService"].full_name,
        ]

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.feed.run(), name="apiserver/feed")
                tasks.create_task(self._bootstrap(), name="apiserver/bootstrap")
                tasks.create_task(self.definitions.run(), name="apiserver/definitions")
                tasks.create_task(self.aggregation.run(), name="apiserver/aggregation")
                tasks.create_task(self._switches.run(), name="apiserver/switches")
                tasks.create_task(self._policy_types.run(), name="apiserver/types of policies")
                tasks.create_task(self.known.run(), name="apiserver/known")
                tasks.create_task(self._measure(), name="apiserver/measure")
                tasks.create_task(LoopLag().run(), name="apiserver/loop lag")
                if self._settings.encryption_file is not None:
                    values = self.backend.cache.values
                    tasks.create_task(EncryptionFile(self._settings.encryption_file, values).run(), name="apiserver/encryption")
                if self.auditor is not None:
                    tasks.create_task(self.auditor.backlog.run(), name="apiserver/audit")
                tasks.create_task(self._recorder.run(), name="apiserver/events")
                if self._follows_authorizers is not None:
                    tasks.create_task(self._follows_authorizers.run(), name="apiserver/authorizers")
                if self._settings.repair_seconds:
                    repairer = Repairer(self.backend, self.allocators, self._recorder, self._settings.repair_seconds)
                    tasks.create_task(repairer.run(), name="apiserver/repairer")
                if self._settings.compaction_seconds:
                    compactor = Compactor(self._store, self._settings.compaction_seconds)
                    tasks.create_task(compactor.run(), name="apiserver/compactor")
                try:
                    await asyncio.Event().wait()
                finally:
                    # While everything it needs still runs.
                    await self._announcer.withdraw()
        finally:
            await self.known.close()
            await self.hang_up()
            await self._store.close()

    async def _bootstrap(self) -> None:
        while not self._bootstrapped.is_set():
            try:
                await repair(self.backend, self.allocators, self._recorder)
                await bootstrap(self.client(USER), self.allocators.addresses.first_address)
                # None of them waits for another, and each waits for etcd's disk. Without the FlowSchemas everybody would be in that for
                # the rest, whose level refuses whom it has no seat for.
                await asyncio.gather(
                    reconcile_roles(self.client(USER)),
                    keep_fairness(self.client(USER)),
                    self._local_services.make(),
                    self._announcer.announce(),
                    keep_service_range(self.client(USER), str(self.allocators.addresses), self.backend.clock),
                )
                self._bootstrapped.set()
            except StatusError as error:
                log.warning("the first objects are not there yet, trying again: %s", error.status.message)
                await asyncio.sleep(RETRY_SECONDS)
        addresses, clock = self.allocators.addresses, self.backend.clock
        upkeep = Upkeep(self.client(USER), addresses, self._announcer, clock, self._front_proxy, self.uses)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(upkeep.run(), name="apiserver/upkeep")
            tasks.create_task(self._local_services.run(), name="apiserver/local apiservices")

    async def _measure(self) -> None:
        while True:
            self.feed.measure()
            await self._look_for_trouble()
            await asyncio.sleep(MEASURE_SECONDS)

    async def _look_for_trouble(self) -> None:
        try:
            trouble = await self._store.trouble()
        except StatusError:
            return  # it is away: the feed says so
        if trouble and not self._trouble:
            log.error("etcd takes no writes: %s", trouble)
        if self._trouble and not trouble:
            log.warning("etcd takes writes again")
        self._trouble = trouble


def _loop_seconds() -> float:
    return asyncio.get_running_loop().time()
