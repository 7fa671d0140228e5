"""The fields that this cluster knows, and what becomes of those whose behaviour does not exist yet: ``support.tsv`` is the one list."""
