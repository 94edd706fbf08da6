"""Unit tests of services.router.forms."""

from typing import Any

import pytest

from services.router import forms
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2


def asked(**fields: Any) -> router_pb2.UpstreamAccount:
    plain: dict[str, Any] = {
        "name": "mine",
        "kind": router_pb2.UPSTREAM_KIND_ANTHROPIC,
        "base_url": "https://api.anthropic.com",
        "models": {"claude-sonnet-4-6": "claude-sonnet-4-6"},
    }
    return router_pb2.UpstreamAccount(**(plain | fields))


def test_what_is_not_said_of_an_account_has_a_default() -> None:
    change = forms.account(asked())
    assert (change.pool, change.weight, change.headers, change.proxy) == ("default", 100, {}, "")
    assert change.limits.concurrent == 0


def test_an_account_keeps_all_that_is_said_of_it() -> None:
    limits = router_pb2.AccountLimits(
        concurrent=1, requests_per_minute=2, input_tokens_per_minute=3, output_tokens_per_minute=4
    )
    change = forms.account(
        asked(
            kind=router_pb2.UPSTREAM_KIND_OPENROUTER,
            base_url="https://openrouter.ai/api/",
            pool="p.1",
            weight=7,
            headers={"X-Title": "us"},
            proxy="http://proxy:3128/",
            limits=limits,
            resale_allowed=True,
            note="n",
            priority=-3,
        )
    )
    assert (change.kind, change.base_url, change.pool, change.weight) == (
        "openrouter",
        "https://openrouter.ai/api",
        "p.1",
        7,
    )
    assert (change.headers, change.proxy, change.note, change.priority) == (
        {"x-title": "us"},
        "http://proxy:3128",
        "n",
        -3,
    )
    taken = change.limits
    assert (taken.concurrent, taken.requests, taken.input_tokens, taken.output_tokens) == (1, 2, 3, 4)
    assert change.resale_allowed


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name is needed"),
        ({"name": "x" * 101}, "name is needed"),
        ({"name": "a\nb"}, "name is needed"),
        (
            {"kind": router_pb2.UPSTREAM_KIND_UNSPECIFIED},
            "kind must be one of anthropic, simulator, openai, openrouter, gemini-openai",
        ),
        ({"base_url": ""}, "base_url"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://x:99999"}, "base_url"),
        ({"base_url": "https://x?a=b"}, "base_url"),
        ({"base_url": "https://me:secret@x"}, "base_url"),
        ({"models": {}}, "models is needed"),
        ({"models": {f"m{i}": "m" for i in range(1001)}}, "at most 1000"),
        ({"models": {"a b": "m"}}, "models"),
        ({"models": {"a": ""}}, "models"),
        ({"pool": "Upper"}, "pool 'Upper'"),
        ({"weight": 1001}, "weight 1001"),
        ({"headers": {"Authorization": "x"}}, "authorization is not for an account to set"),
        ({"headers": {"x-api-key": "x"}}, "x-api-key is not"),
        ({"headers": {"Host": "x"}}, "host is not"),
        ({"headers": {"content-length": "1"}}, "content-length is not"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "transfer-encoding is not"),
        ({"headers": {"a b": "x"}}, "not the name of a header"),
        ({"headers": {"x-a": "line\r\nx-b: 1"}}, "the value of x-a"),
        ({"headers": {"x-a": "é"}}, "the value of x-a"),
        ({"headers": {"x-a": ""}}, "the value of x-a"),
        ({"headers": {"x-a": "1", "X-A": "2"}}, "each name once"),
        ({"headers": {f"x-{i}": "1" for i in range(33)}}, "at most 32"),
        ({"proxy": "socks5://x:1"}, "proxy"),
        ({"proxy": "http://me:secret@proxy:3128"}, "proxy"),
        ({"proxy": "http://proxy:3128/path"}, "proxy"),
        ({"limits": router_pb2.AccountLimits(input_tokens_per_minute=10**13)}, "tokens a minute"),
        ({"note": "x" * 1001}, "note"),
    ],
)
def test_an_account_that_cannot_be_is_refused_by_its_field(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        forms.account(asked(**fields))
    assert refused.value.kind is Kind.INVALID_REQUEST
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("text", ["", " x", "x\n", "é", "x" * 16_385])
def test_a_credential_that_cannot_go_into_a_header_is_refused_unquoted(text: str) -> None:
    with pytest.raises(Refusal, match="credential") as refused:
        forms.credential(text)
    assert not text.strip() or text not in refused.value.message.split()


@pytest.mark.parametrize("name", ["", "x" * 64, "a b", "A", "a/b", "é"])
def test_a_bad_name_of_a_pool_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="1 to 63 lower-case letters"):
        forms.named("pool", name)


@pytest.mark.parametrize("pools", [[], ["a", "a"], [f"p{i}" for i in range(65)], ["A"]])
def test_a_group_without_pools_with_too_many_or_with_one_twice_is_refused(pools: list[str]) -> None:
    with pytest.raises(Refusal, match="pool"):
        forms.group(router_pb2.Group(name="g", pools=pools))


def test_a_group_keeps_the_order_of_its_pools() -> None:
    assert forms.group(router_pb2.Group(name="g", pools=["b", "a"])) == ("g", ["b", "a"])


def test_a_model_has_its_id_as_name_and_a_family_made_from_it() -> None:
    row = forms.model(router_pb2.Model(model="claude-opus-4-6", times=router_pb2.ModelTimes(idle_ms=5)))
    assert (row.display_name, row.family, row.idle_ms, row.total_ms) == ("claude-opus-4-6", "claude-opus", 5, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": ""},
        {"model": "m", "display_name": "x" * 201},
        {"model": "m", "family": "a b"},
        {"model": "m", "times": router_pb2.ModelTimes(total_ms=86_400_001)},
    ],
)
def test_a_model_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        forms.model(router_pb2.Model(**fields))
