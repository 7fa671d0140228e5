"""What a pod is to be: the decisions and the status (pure), its volumes, names, sandbox and what it refers to."""
