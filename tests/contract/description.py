"""The OpenAPI document that a deployment serves, and whether answers are as it says."""

import re
from typing import Any

from openapi_schema_validator import OAS31Validator

from tests.deployment import Answer, Deployment


class Description:
    """The document of one brand."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._components = document["components"]

    @classmethod
    def of(cls, tollhouse: Deployment) -> "Description":
        """The document as clients get it."""
        return cls(tollhouse.call("GET", "/openapi.json").json())

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """What is said of a request; the path that says most of it counts."""
        for template in sorted(self.document["paths"], key=lambda template: ("{" in template, -len(template))):
            parts = re.split(r"{\w+}", template)
            if re.fullmatch(".+".join(re.escape(part) for part in parts), path.partition("?")[0]):
                found: dict[str, Any] = self.document["paths"][template][method.lower()]
                return found
        raise LookupError(f"{method} {path} is not described")

    def assert_holds(self, method: str, path: str, answer: Answer) -> None:
        """The answer has a status, headers and a body that are described."""
        said = self.operation(method, path)["responses"].get(str(answer.status))
        assert said, f"{method} {path}: {answer.status} is not described: {answer.body[:300]!r}"
        said = self._resolved(said)
        for name, header in said.get("headers", {}).items():
            if self._resolved(header).get("required"):
                assert name in answer.headers, f"{method} {path}: {answer.status} without {name}"
        media = answer.headers["content-type"].partition(";")[0]
        assert media in said["content"], f"{method} {path}: {media} is not described"
        body = answer.json() if media.endswith("json") else answer.body.decode()
        faults = [error.message for error in self.validator(said["content"][media]["schema"]).iter_errors(body)]
        assert not faults, f"{method} {path}: {answer.status}: {faults[:3]}: {answer.body[:300]!r}"

    def validator(self, schema: dict[str, Any]) -> Any:
        """What checks a value against a schema of the document."""
        return OAS31Validator({"components": self._components, **schema}, format_checker=OAS31Validator.FORMAT_CHECKER)

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            _, _, kind, name = node["$ref"].split("/")
            node = self._components[kind][name]
        return node
