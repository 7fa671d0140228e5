"""Labels by which the keepers of endpoints know what is whose."""

from __future__ import annotations

HEADLESS = "service.kubernetes.io/headless"
# Who keeps an Endpoints object; that of the endpoints controller, by this name.
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
ENDPOINTS_MANAGER = "endpoint-controller"
