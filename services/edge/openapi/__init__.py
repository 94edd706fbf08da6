"""The OpenAPI document of the public API, as each brand has it."""
