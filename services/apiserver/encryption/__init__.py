"""Objects encrypted in the store, as Kubernetes' EncryptionConfiguration says: the same file, and the same values in etcd."""
