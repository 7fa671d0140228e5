"""Commands in containers and connections to their ports, in the dialects of Kubernetes' clients, whoever serves them."""
