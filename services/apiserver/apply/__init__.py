"""Who manages which fields of stored objects: ``metadata.managedFields`` on every write, and server-side apply."""
