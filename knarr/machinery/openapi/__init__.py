"""OpenAPI, derived from the registry of resources and the schema: one model of schemas and paths, written as v3 and as v2.

It serves what clients do with it: ``kubectl explain`` (schemas with descriptions), client-side apply (patch strategies and merge keys),
typed merges (list types) and the question whether the server knows ``fieldValidation`` and ``dryRun`` (query parameters of PATCH).
"""
