"""Between the versions of a resource: pure functions from message to message, a module a resource."""
