"""The rules of custom resources: those that each definition makes."""
