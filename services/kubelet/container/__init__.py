"""What runs in a pod: how a container is planned and started, probed, hooked and ended."""
