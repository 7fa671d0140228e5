"""The Kubernetes REST face: a thin shell that translates HTTP into calls of ``Api`` and back."""
