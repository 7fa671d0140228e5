"""The cloud controllers: the one list."""

from __future__ import annotations

from services.cloud.controller import CloudController
from services.cloud.controllers.node.controller import NodeController
from services.cloud.controllers.nodelifecycle.controller import NodeLifecycleController
from services.cloud.controllers.route.controller import RouteController
from services.cloud.controllers.service.controller import ServiceController

CONTROLLERS: tuple[type[CloudController], ...] = (NodeController, NodeLifecycleController, ServiceController, RouteController)
