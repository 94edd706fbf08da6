"""Whatever is sent, the answer is one that was promised: no failure of ours, nothing said that is not the client's.

FUZZ_EXAMPLES sets how many requests of each kind are made, at random then; without it they are few and always the
same."""

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract import malformed
from tests.contract.description import Description
from tests.deployment import Answer, Deployment, Tenant, deployed
from tollhouse.v1 import billing_pb2, router_pb2

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
FEW = {"documented": 6, "bodies": 60}
KINDS = {
    "anthropic": (router_pb2.UPSTREAM_KIND_ANTHROPIC, ""),
    "openai": (router_pb2.UPSTREAM_KIND_OPENAI, ""),
    "openrouter": (router_pb2.UPSTREAM_KIND_OPENROUTER, "/api"),
    "gemini": (router_pb2.UPSTREAM_KIND_GEMINI_OPENAI, "/v1beta/openai"),
    "simulator": (router_pb2.UPSTREAM_KIND_SIMULATOR, ""),
}
"""Upstream kinds, with where the simulator speaks as they do."""
PATHS = tuple(malformed.requests(""))
FAULTS_OF_OTHERS = (501, 502, 503, 504, 529)
COMPLAINTS = (400, 404, 405, 409, 413, 415, 422)
SHAPES = {"/v1/messages": "AnthropicError", "/v1/messages/count_tokens": "AnthropicError"}
CHECKS: list[CheckFunction] = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


def few_or_many(kind: str, what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """How much is tried, and of what: the same in every run, unless it is to be much."""
    bounded = settings(
        max_examples=EXAMPLES or FEW[kind], database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return (lambda test: bounded(test)) if EXAMPLES else (lambda test: seed(zlib.crc32(what.encode()))(bounded(test)))


class Target:
    """A deployment with an upstream account of every kind, each with a model of its own."""

    def __init__(self, tollhouse: Deployment) -> None:
        self.tollhouse = tollhouse
        self.description = Description.of(tollhouse)
        self.tenant: Tenant = tollhouse.tenant(dollars=1_000_000)
        self.secrets = {tollhouse.simulator_url.removeprefix("http://").encode(), self.tenant.key.encode()}
        for name, (kind, base) in KINDS.items():
            self._add(name, kind, tollhouse.simulator_url + base)

    def _add(self, name: str, kind: router_pb2.UpstreamKind.ValueType, base_url: str) -> None:
        account, credential = f"purse-of-{name}", f"sim-locked-away-{name}"
        self.secrets |= {account.encode(), credential.encode()}
        stored = router_pb2.UpstreamAccount(
            name=account,
            kind=kind,
            base_url=base_url,
            models={model_of(name): "claude-sonnet-4-6"},
            priority=1,
            enabled=True,
        )
        request = router_pb2.PutUpstreamAccountRequest(account=stored, credential=credential)
        answer = self.tollhouse.router.PutUpstreamAccount(request)
        self.secrets.add(answer.account.upstream_account_id.encode())
        price = billing_pb2.Price(model=model_of(name), input_pico=3_000_000, output_pico=15_000_000)
        self.tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="test"))

    def assert_sound(self, answer: Answer) -> None:
        """Nobody's secret, and no failure of ours."""
        assert answer.status < 500 or answer.status in FAULTS_OF_OTHERS, answer.body
        said = answer.body + repr(sorted(answer.headers.items())).encode()
        assert b"Traceback" not in said
        assert b'.py"' not in said
        for secret in self.secrets:
            assert secret not in said, answer

    def assert_error_is_told_well(self, path: str, answer: Answer) -> None:
        """An error is in the route's shape and says the request id, but for an upstream's complaint about the request,
        which stands as it came."""
        self.description.assert_holds("POST", path, answer)
        ours = f"(request id: {answer.headers['x-request-id']})" in answer.json()["error"]["message"]
        assert ours or answer.status in COMPLAINTS
        if ours:
            schema = self.description.document["components"]["schemas"][SHAPES.get(path, "OpenAIError")]
            self.description.validator(schema).validate(answer.json())

    def logs(self) -> str:
        """What every process of ours has logged."""
        folder = self.tollhouse.state_dir / "log"
        return "".join(file.read_text(errors="replace") for file in folder.glob("*.log") if "postgres" not in file.name)


def model_of(kind: str) -> str:
    return f"fuzzed-{kind}"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    state_dir: Path = tmp_path_factory.mktemp("fuzz") / "state"
    with deployed(state_dir) as tollhouse:
        found = Target(tollhouse)
        pids = {service: tollhouse.pids(service) for service in ("edge", "auth", "router", "ledger", "simulator")}
        yield found
        assert tollhouse.call("GET", "/").status == 200
        assert pids == {service: tollhouse.pids(service) for service in pids}
        for word in ("Traceback", "INTERNAL", "relay_failed", '"internal"'):
            assert word not in found.logs()


def events(body: bytes) -> list[Any]:
    """The data of every event; all of it is JSON but the end of a chat completion."""
    lines = [line.strip(b"\r").removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


@pytest.mark.timeout(0 if EXAMPLES else 120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", PATHS)
def test_any_body_is_answered_as_promised_whichever_upstream_would_get_it(target: Target, path: str, kind: str) -> None:
    valid = malformed.requests(model_of(kind))[path]

    @few_or_many("bodies", path + kind)
    @given(st.sampled_from(valid).flatmap(malformed.bodies), malformed.heads(), malformed.scripts(), malformed.QUERIES)
    def answered_as_promised(body: bytes, head: dict[str, str], script: str, query: str) -> None:
        named = {name: value for name, value in (head | {"x-simulator": script}).items() if value}
        answer = target.tollhouse.call("POST", path + query, named | {"x-api-key": target.tenant.key}, body)
        target.assert_sound(answer)
        if answer.status != 200:
            target.assert_error_is_told_well(path, answer)
        elif answer.headers["content-type"].startswith("text/event-stream"):
            assert events(answer.body)
        else:
            target.description.assert_holds("POST", path, answer)

    answered_as_promised()


def may_be_wrong(operation: dict[str, Any]) -> bool:
    """Whether something that is sent might not be what is described; in a URL everything is some text."""
    schemas = [parameter["schema"] for parameter in operation.get("parameters", ())]
    return "requestBody" in operation or any(schema.keys() & {"enum", "maximum", "maxLength"} for schema in schemas)


@pytest.mark.timeout(0 if EXAMPLES else 120)
@pytest.mark.parametrize("mode", GenerationMode)
def test_every_described_operation_answers_as_described(target: Target, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(target.description.document)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) == sum(len(methods) for methods in target.description.document["paths"].values())
    key = {"authorization": f"Bearer {target.tenant.key}"}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not may_be_wrong(operation.definition.raw):
            continue

        @few_or_many("documented", operation.label)
        @given(operation.as_strategy(mode), st.sampled_from([key, {}]))
        def answers_as_described(case: Any, headers: dict[str, str]) -> None:
            response = case.call(base_url=target.tollhouse.base_url, headers=headers, timeout=30)
            case.validate_response(response, checks=CHECKS)
            said = {name: values[0] for name, values in response.headers.items()}
            target.assert_sound(Answer(response.status_code, said, response.content))

        answers_as_described()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_methods_that_are_not_described_are_refused(target: Target, method: str) -> None:
    for template, methods in target.description.document["paths"].items():
        described = {name.upper() for name in methods} | ({"HEAD"} if "get" in methods else set())
        if method not in described:
            answer = target.tollhouse.call(method, re.sub(r"{\w+}", "x", template))
            target.assert_sound(answer)
            assert answer.status == 405, template
            assert "x-request-id" in answer.headers
            assert set(answer.headers["allow"].replace(" ", "").split(",")) == described
