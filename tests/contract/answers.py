"""What every brand promises of answers: all APIs, against every kind of upstream account, in the SDKs' own types."""

import json
from typing import Any

import pytest

from tests.contract import shapes
from tests.contract.house import ASK, BY_ANTHROPIC, BY_OPENAI, BY_OPENROUTER, EMBEDDING, House
from tests.deployment import MODEL, Answer, message, sha256

of_every_kind = pytest.mark.parametrize("model", [MODEL, BY_ANTHROPIC, BY_OPENAI])
SIMULATED: Any = {"x-simulator": "tokens=9; input_tokens=21"}


class Answers:
    """Inherited by each brand's tests."""

    @of_every_kind
    def test_a_message_has_anthropics_shape(self, house: House, key: str, model: str) -> None:
        raw = house.anthropic(key).messages.with_raw_response.create(
            model=model, max_tokens=200, messages=ASK, extra_headers=SIMULATED
        )
        said = shapes.message(raw.http_response.content)
        assert (said.usage.input_tokens, said.usage.output_tokens) == (21, 9)
        assert said.content[0].type == "text"
        self.is_signed(house, dict(raw.headers))
        self.is_booked(house, key, dict(raw.headers), model)

    @of_every_kind
    def test_a_streamed_message_has_anthropics_events(self, house: House, key: str, model: str) -> None:
        with house.anthropic(key).messages.with_streaming_response.create(
            model=model, max_tokens=200, messages=ASK, stream=True, extra_headers=SIMULATED
        ) as streamed:
            events = shapes.message_events(b"".join(streamed.iter_bytes()))
        assert events[-2].usage.output_tokens == 9
        self.is_signed(house, dict(streamed.headers))
        self.is_booked(house, key, dict(streamed.headers), model)

    @of_every_kind
    def test_a_chat_completion_has_openais_shape(self, house: House, key: str, model: str) -> None:
        """Without max_tokens, which Anthropic's own API would miss."""
        raw = house.openai(key).chat.completions.with_raw_response.create(
            model=model, messages=ASK, extra_headers=SIMULATED
        )
        said = shapes.completion(raw.content)
        assert said.usage is not None
        assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (21, 9)
        assert said.choices[0].message.content
        self.is_signed(house, dict(raw.headers))
        self.is_booked(house, key, dict(raw.headers), model)

    @of_every_kind
    @pytest.mark.parametrize("include_usage", [True, False])
    def test_a_streamed_chat_completion_ends_with_usage_only_if_asked(
        self, house: House, key: str, model: str, include_usage: bool
    ) -> None:
        options: Any = {"stream_options": {"include_usage": True}} if include_usage else {}
        with house.openai(key).chat.completions.with_streaming_response.create(
            model=model, messages=ASK, stream=True, extra_headers=SIMULATED, **options
        ) as streamed:
            chunks = shapes.chunks(b"".join(streamed.iter_bytes()))
        assert any(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
        told = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
        assert told == ([9] if include_usage else [])
        self.is_booked(house, key, dict(streamed.headers), model)

    @of_every_kind
    def test_a_response_has_openais_shape(self, house: House, key: str, model: str) -> None:
        raw = house.openai(key).responses.with_raw_response.create(
            model=model, input="Say hello.", store=False, extra_headers=SIMULATED
        )
        said = shapes.response(raw.content)
        assert said.output_text
        assert said.usage is not None
        assert (said.usage.input_tokens, said.usage.output_tokens) == (21, 9)
        self.is_signed(house, dict(raw.headers))
        self.is_booked(house, key, dict(raw.headers), model)

    @of_every_kind
    def test_a_streamed_response_has_openais_events(self, house: House, key: str, model: str) -> None:
        with house.openai(key).responses.with_streaming_response.create(
            model=model, input="Say hello.", store=False, stream=True, extra_headers=SIMULATED
        ) as streamed:
            events = shapes.response_events(b"".join(streamed.iter_bytes()))
        assert events[-1].response.usage.output_tokens == 9
        self.is_booked(house, key, dict(streamed.headers), model)

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("path", "body", "model"),
        [
            ("/v1/messages", message(), BY_ANTHROPIC),
            ("/v1/chat/completions", message(), BY_OPENAI),
            ("/v1/responses", {"input": "Say hello."}, BY_OPENAI),
        ],
    )
    def test_an_upstream_of_the_clients_own_api_is_heard_byte_for_byte(
        self, house: House, key: str, path: str, body: dict[str, Any], model: str, stream: bool
    ) -> None:
        asked = body | {"model": model, "stream": stream}
        if stream and path == "/v1/chat/completions":
            asked["stream_options"] = {"include_usage": True}
        answer = house.call("POST", path, key, asked, {"x-simulator": "thinking=2; tool=1"})
        assert answer.status == 200, answer.body
        served = house.tollhouse.served_request(answer.headers["request-id"])
        assert sha256(answer.body) == served["response_sha256"]

    def test_embeddings_are_openais(self, house: House, key: str) -> None:
        raw = house.openai(key).embeddings.with_raw_response.create(
            model=EMBEDDING, input=["one", "two"], encoding_format="float"
        )
        assert [item.index for item in shapes.embeddings(raw.content).data] == [0, 1]
        assert len(house.openai(key).embeddings.create(model=EMBEDDING, input="one").data[0].embedding) > 1

    def test_counted_tokens_cost_nothing(self, house: House) -> None:
        tenant = house.tenant()
        raw = house.anthropic(tenant.key).messages.with_raw_response.count_tokens(model=MODEL, messages=ASK)
        assert shapes.count(raw.http_response.content).input_tokens > 0
        assert house.call("GET", "/v1/balance", tenant.key).json()["balance_micro"] == 10_000_000
        assert house.call("GET", "/v1/usage", tenant.key).json()["data"] == []

    def test_tokens_that_no_upstream_can_count_are_estimated_and_marked(self, house: House, key: str) -> None:
        counted = {
            model: house.anthropic(key).messages.with_raw_response.count_tokens(model=model, messages=ASK)
            for model in (MODEL, BY_OPENAI)
        }
        assert counted[BY_OPENAI].headers["x-tollhouse-estimated"] == "true"
        assert "x-tollhouse-estimated" not in counted[MODEL].headers
        assert shapes.count(counted[BY_OPENAI].http_response.content).input_tokens > 0

    def test_who_asks_is_told_to_openrouter_and_to_nobody_else(self, house: House, key: str) -> None:
        named = {"HTTP-Referer": "https://app.example.org", "X-OpenRouter-Title": "App", "X-Title": "App"}
        for model, expected in ((BY_OPENROUTER, named), (BY_ANTHROPIC, {}), (MODEL, {})):
            answer = house.call("POST", "/v1/messages", key, message(model=model), named)
            assert answer.status == 200, answer.body
            sent = dict(house.tollhouse.served_request(answer.headers["request-id"])["headers"])
            assert {name: sent[name.lower()] for name in named if name.lower() in sent} == expected

    def test_both_sdks_work_at_every_base_path(self, house: House, key: str, root: str) -> None:
        client = house.anthropic(key, root)
        assert client.messages.create(model=MODEL, max_tokens=9, messages=ASK).usage.output_tokens == 9
        assert client.messages.count_tokens(model=MODEL, messages=ASK).input_tokens > 0
        assert MODEL in {model.id for model in client.models.list()}
        other = house.openai(key, root)
        assert other.chat.completions.create(model=MODEL, messages=ASK).choices[0].message.content
        assert other.responses.create(model=MODEL, input="Say hello.").output_text
        assert other.embeddings.create(model=EMBEDDING, input="one").data
        assert MODEL in {model.id for model in other.models.list()}
        assert house.call("GET", f"{root}/v1/balance", key).status == 200

    def test_a_body_is_json_whatever_its_content_type_says(self, house: House, key: str) -> None:
        for typed in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
            shapes.message(house.call("POST", "/v1/messages", key, message(), typed).body)

    @pytest.mark.parametrize("version", ["", "2023-06-01", "2026-10-21", "2031-01-01"])
    def test_any_anthropic_version_or_none_is_taken(self, house: House, key: str, version: str) -> None:
        headers = {"anthropic-version": version} if version else {}
        answer = house.call("POST", "/v1/messages?beta=true", key, message(), headers)
        shapes.message(answer.body)
        sent = dict(house.tollhouse.served_request(answer.headers["request-id"])["headers"])
        assert sent["anthropic-version"] == (version or "2023-06-01")

    def test_betas_and_fields_that_are_not_known_reach_the_upstream(self, house: House, key: str) -> None:
        headers = {"anthropic-beta": "context-management-2025-06-27,some-later-one"}
        asked = message(context_management={"edits": [{"type": "clear_tool_uses_20250919"}]})
        answer = house.call("POST", "/v1/messages", key, asked, headers)
        assert answer.status == 200, answer.body
        sent = house.tollhouse.served_request(answer.headers["request-id"])
        assert dict(sent["headers"])["anthropic-beta"] == headers["anthropic-beta"]

    def test_a_message_without_max_tokens_gets_the_brands_default_or_is_400(self, house: House, key: str) -> None:
        asked = message() | {"messages": [{"role": "user", "content": "Say hello. [[sim echo=1]]"}]}
        del asked["max_tokens"]
        answer = house.call("POST", "/v1/messages", key, asked)
        if house.promised.default_max_tokens:
            understood = json.loads(shapes.message(answer.body).content[0].text)  # type: ignore[union-attr]
            assert understood["max_tokens"] == house.promised.default_max_tokens
        else:
            assert answer.status == 400
            assert "max_tokens" in answer.json()["error"]["message"]

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_the_root_answers_clients_that_probe_it(self, house: House, method: str) -> None:
        assert house.call(method, "/").status == 200

    def test_usage_is_told_to_the_tenant_that_made_the_call_and_to_nobody_else(self, house: House, key: str) -> None:
        request_id = house.call("POST", "/v1/messages", key, message()).headers["x-request-id"]
        usage = house.call("GET", f"/v1/usage/{request_id}", key).json()
        assert usage["status"] == "ok"
        assert usage.keys() >= {"created_at", "duration_ms", "first_token_ms", "price_version"}
        foreign = house.call("GET", f"/v1/usage/{request_id}", house.tenant().key)
        unknown = house.call("GET", "/v1/usage/req_01HXXXXXXXXXXXXXXXXXXXXXXX", key)
        assert (foreign.status, unknown.status) == (404, 404)
        assert foreign.json()["error"]["type"] == unknown.json()["error"]["type"] == "not_found_error"

    def test_the_balance_is_told_in_micro_dollars(self, house: House) -> None:
        balance = house.call("GET", "/v1/balance", house.tenant(dollars=3).key).json()
        assert balance["balance_micro"] == 3_000_000

    @staticmethod
    def is_signed(house: House, headers: dict[str, str]) -> None:
        """An answer says our request id, and what else the brand has headers for; nothing names the account."""
        found = {name.lower(): value for name, value in headers.items()}
        promised = house.promised
        assert found["x-request-id"].startswith("req_")
        ours = {name for name in found if name.startswith("x-cc-")}
        assert ours == promised.own_headers
        if promised.request_id_header:
            assert found[promised.request_id_header.lower()] == found["x-request-id"]
        if promised.account_header:
            assert found[promised.account_header.lower()]
        for name in ("simulator", "only-anthropic", "only-openai"):
            assert not any(name in value for value in found.values()), found

    @staticmethod
    def is_booked(house: House, key: str, headers: dict[str, str], model: str) -> None:
        """The request's usage is told at once, and is what the upstream counted."""
        request_id = next(value for name, value in headers.items() if name.lower() == "x-request-id")
        answer: Answer = house.call("GET", f"/v1/usage/{request_id}", key)
        assert answer.status == 200, answer.body
        usage = answer.json()
        assert usage["input_tokens"] == 21
        assert usage["output_tokens"] == 9
        assert usage["cache_read_input_tokens"] == 0
        assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
        assert usage["cost_micro"] == (21 * 3000 + 9 * 15000) // 1000
        assert usage["model"] == model
