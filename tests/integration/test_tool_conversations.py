"""Tools over two turns, through every pair of a client's API and a kind of upstream account: the arguments of calls
arrive byte for byte on both sides, failures are told as such, and what the client is told of its tokens is what the
upstream said and what is billed."""

import json
from collections.abc import Callable, Iterator, Mapping

import anthropic
import openai
import pytest

from tests.deployment import Deployment, Tenant
from tests.sdks import anthropic_sdk
from tests.tool_clients import Call, ChatClient, MessagesClient, ResponsesClient, Result, Said, ToolClient
from tests.upstreams import KINDS, delete_upstream, last_served, put_upstream

CLIENTS: Mapping[str, Callable[[str, str], ToolClient]] = {
    "messages": MessagesClient,
    "chat": ChatClient,
    "responses": ResponsesClient,
}
SPEAK_MESSAGES = ("anthropic", "openrouter", "simulator")
KEEP_THOUGHTS = [
    *(("messages", kind) for kind in SPEAK_MESSAGES),
    *(("responses", kind) for kind in ("anthropic", "openai", "simulator")),
]
"""Pairs in which what was thought can be told in the next request: the API is the same, or holds sealed thoughts."""
CACHE = "cache_read=70; cache_write_5m=30"

every_pair = pytest.mark.parametrize(
    ("api", "kind", "stream"),
    [(api, kind, stream) for api in CLIENTS for kind in KINDS for stream in (False, True)],
    ids=lambda value: ("plain", "streamed")[value] if isinstance(value, bool) else value,
)


@pytest.fixture(scope="module")
def credentials(tollhouse: Deployment) -> Iterator[dict[str, str]]:
    """The credential of an upstream account of each kind, which serves the model `tools-KIND`."""
    yield {kind: put_upstream(tollhouse, f"tools-{kind}", kind, {f"tools-{kind}": "m"}) for kind in KINDS}
    for kind in KINDS:
        delete_upstream(tollhouse, f"tools-{kind}")


@pytest.fixture(scope="module")
def tenant(tollhouse: Deployment) -> Tenant:
    return tollhouse.tenant(dollars=100)


@pytest.fixture(scope="module")
def original(tollhouse: Deployment) -> list[str]:
    """The arguments that the simulator gives three parallel calls, asked without anything between."""
    direct = ChatClient(tollhouse.simulator_url, "sim-direct")
    direct.ask("m", "Weather?")
    return [call.arguments for call in direct.send(script="tool=3", stream=False).calls]


def check_books(tollhouse: Deployment, tenant: Tenant, credential: str, said: Said) -> None:
    """What the client was told of its tokens is what the upstream says it served, and what is billed."""
    served = last_served(tollhouse, credential)["tokens"]
    assert said.used == (served["input"], served["output"], served["cache_read"], served["cache_write_5m"])
    billed = tollhouse.usage_of(tenant.key, said.request_id).json()
    assert billed["cache_creation"]["ephemeral_1h_input_tokens"] == 0
    assert said.used == (
        billed["input_tokens"],
        billed["output_tokens"],
        billed["cache_read_input_tokens"],
        billed["cache_creation"]["ephemeral_5m_input_tokens"],
    )


@every_pair
@pytest.mark.parametrize("calls", [1, 3])
def test_a_conversation_with_tools_takes_two_turns_and_loses_nothing(
    tollhouse: Deployment,
    tenant: Tenant,
    credentials: dict[str, str],
    original: list[str],
    api: str,
    kind: str,
    stream: bool,
    calls: int,
) -> None:
    client, credential = CLIENTS[api](tollhouse.base_url, tenant.key), credentials[kind]
    client.ask(f"tools-{kind}", "Weather?")
    first = client.send(script=f"tool={calls}; tokens=9; {CACHE}", stream=stream)
    assert [call.name for call in first.calls] == ["look", "note", "look"][:calls]
    assert [call.arguments for call in first.calls] == original[:calls]
    assert first.stop == client.stops[0]
    assert first.used[1:] == (9, 70, 30)
    check_books(tollhouse, tenant, credential, first)

    results = [Result(call.id, f"naïve 東京 {number}") for number, call in enumerate(first.calls)]
    results[-1] = Result(results[-1].call_id, "no such city", failed=True)
    client.go_on(first, results)
    last = client.send(script=f"tool={calls}; {CACHE}", stream=stream)
    assert last.text == "; ".join(answer_to(one, client, kind) for one in results)
    assert (last.calls, last.stop) == ([], client.stops[1])
    check_books(tollhouse, tenant, credential, last)

    echoed = json.loads(client.send(script="echo=1", stream=stream).text)["turns"]
    told = [Call(**call) for turn in echoed for call in turn.get("calls", ())]
    assert told == first.calls
    assert [one["id"] for turn in echoed for one in turn.get("results", ())] == [one.call_id for one in results]


def answer_to(result: Result, client: ToolClient, kind: str) -> str:
    """How the simulator repeats a result: where one API has no field for a failure, its text tells it."""
    if not (result.failed and client.tells_failures):
        return f"{result.call_id}: {result.text}"
    if kind in SPEAK_MESSAGES:
        return f"{result.call_id} failed: {result.text}"
    return f"{result.call_id}: Error: {result.text}"


@every_pair
def test_a_result_that_is_missing_is_the_clients_fault_and_costs_nothing(
    tollhouse: Deployment, tenant: Tenant, credentials: dict[str, str], api: str, kind: str, stream: bool
) -> None:
    client = CLIENTS[api](tollhouse.base_url, tenant.key)
    client.ask(f"tools-{kind}", "Weather?")
    first = client.send(script="tool=2", stream=stream)
    client.go_on(first, [Result(first.calls[0].id, "rain")])
    with pytest.raises((anthropic.BadRequestError, openai.BadRequestError)) as raised:
        client.send(script="tool=2", stream=stream)
    refused = raised.value
    assert isinstance(refused, anthropic.BadRequestError | openai.BadRequestError)
    assert first.calls[1].id in refused.message
    billed = tollhouse.usage_of(tenant.key, refused.response.headers["x-request-id"]).json()
    assert (billed["cost_micro"], billed["input_tokens"], billed["status"]) == (0, 0, "client_fault")


@every_pair
def test_thoughts_come_back_signed_to_whom_they_can_and_disturb_nobody(
    tollhouse: Deployment, tenant: Tenant, credentials: dict[str, str], api: str, kind: str, stream: bool
) -> None:
    client = CLIENTS[api](tollhouse.base_url, tenant.key)
    client.ask(f"tools-{kind}", "Weather?")
    first = client.send(script="thinking=5; tool=1", stream=stream, think=True)
    check_books(tollhouse, tenant, credentials[kind], first)
    client.go_on(first, [Result(call.id, "rain") for call in first.calls])
    last = client.send(script="thinking=5", stream=stream, think=True)  # a false signature is 400
    assert last.text == f"{first.calls[0].id}: rain"
    echoed = json.loads(client.send(script="echo=1", stream=stream, think=True).text)["turns"]
    assert any(turn.get("thoughts") for turn in echoed) == ((api, kind) in KEEP_THOUGHTS)


@every_pair
def test_an_answer_that_meets_its_limit_says_so(
    tollhouse: Deployment, tenant: Tenant, credentials: dict[str, str], api: str, kind: str, stream: bool
) -> None:
    client = CLIENTS[api](tollhouse.base_url, tenant.key)
    client.ask(f"tools-{kind}", "Tell me more.")
    said = client.send(script="tokens=500", stream=stream, limit=20)
    assert (said.stop, said.used.output) == (client.stops[2], 20)
    check_books(tollhouse, tenant, credentials[kind], said)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tool_runner_of_anthropics_sdk_goes_on_without_a_thread(
    tollhouse: Deployment, tenant: Tenant, credentials: dict[str, str], kind: str
) -> None:
    @anthropic.beta_tool(input_schema={"type": "object"})
    def look(**_given: object) -> str:
        """Looks."""
        return "sunny"

    sdk = anthropic_sdk(tollhouse.base_url, tenant.key)
    runner = sdk.beta.messages.tool_runner(
        model=f"tools-{kind}",
        max_tokens=6000,
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[look],
        extra_headers={"x-simulator": "tool=1"},
    )
    called, answered = runner
    assert called.stop_reason == "tool_use"
    calls = [block.id for block in called.content if block.type == "tool_use"]
    assert [block.text for block in answered.content if block.type == "text"] == [f"{call}: sunny" for call in calls]
