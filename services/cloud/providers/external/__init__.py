"""Provider ``external``: a process of its own, in any language, that serves ``CloudProviderService``."""
