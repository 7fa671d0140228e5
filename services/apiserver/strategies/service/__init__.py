"""Services: defaults, validation, table."""
