"""Unit tests of services.edge.head."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.head import onward_query, read_head
from services.shared import principal
from services.shared.errors import Kind, Refusal

Header = tuple[bytes, bytes]


def refused(*headers: Header) -> Kind:
    with pytest.raises(Refusal) as refusal:
        read_head(list(headers)).key()
    return refusal.value.kind


# ---- keys ----


@pytest.mark.parametrize(
    "header",
    [
        (b"x-api-key", b"sk-th-abc"),
        (b"x-api-key", b"  sk-th-abc "),
        (b"authorization", b"Bearer sk-th-abc"),
        (b"authorization", b"bearer sk-th-abc"),
        (b"authorization", b"BEARER   sk-th-abc  "),
        (b"authorization", b"sk-th-abc"),
    ],
)
def test_a_key_comes_in_either_header(header: Header) -> None:
    assert read_head([header]).key() == "sk-th-abc"


def test_the_same_key_in_two_headers_is_one_key() -> None:
    headers = [(b"x-api-key", b"sk-th-abc"), (b"authorization", b"Bearer sk-th-abc")]
    assert read_head(headers).key() == "sk-th-abc"


@pytest.mark.parametrize("other", [b"abc", b"cc_user_abc", b"sk-abc", b"sk-cc-abc"])
def test_the_same_key_with_and_without_its_prefix_is_one_key(other: bytes) -> None:
    head = read_head([(b"x-api-key", b"sk-th-abc"), (b"authorization", b"Bearer " + other)])
    assert head.key(principal.longest_first(["cc_user_", "sk-cc-"])) == "sk-th-abc"


def test_a_prefix_that_no_brand_has_makes_another_key() -> None:
    assert refused((b"x-api-key", b"sk-th-abc"), (b"x-api-key", b"cc_user_abc")) is Kind.KEY_CONFLICT


def test_different_keys_in_two_headers_are_refused() -> None:
    assert refused((b"x-api-key", b"sk-th-abc"), (b"authorization", b"Bearer sk-th-xyz")) is Kind.KEY_CONFLICT
    assert refused((b"x-api-key", b"sk-th-abc"), (b"x-api-key", b"sk-th-xyz")) is Kind.KEY_CONFLICT


def test_other_credentials_beside_a_key_are_a_conflict_and_not_passed_over() -> None:
    assert refused((b"x-api-key", b"sk-th-abc"), (b"authorization", b"Basic dXNlcjpwYXNz")) is Kind.KEY_CONFLICT


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"   ")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"")],
        [(b"x-goog-api-key", b"sk-th-abc")],
    ],
)
def test_no_key_is_said_to_be_missing(headers: list[Header]) -> None:
    assert refused(*headers) is Kind.KEY_MISSING


def test_an_empty_header_beside_a_key_does_not_matter() -> None:
    assert read_head([(b"x-api-key", b""), (b"authorization", b"Bearer sk-th-abc")]).key() == "sk-th-abc"


@pytest.mark.parametrize("key", [b"sk-th-" + b"a" * 251, b"sk-th-\xff", "sk-th-ä".encode()])
def test_what_cannot_be_a_key_is_unknown(key: bytes) -> None:
    assert refused((b"x-api-key", key)) is Kind.KEY_UNKNOWN


def test_a_key_may_have_256_characters() -> None:
    assert len(read_head([(b"x-api-key", b"a" * 256)]).key()) == 256


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_the_headers_hold_there_is_a_key_or_a_refusal_that_does_not_repeat_it(one: bytes, two: bytes) -> None:
    refusal = None
    try:
        key = read_head([(b"authorization", one), (b"x-api-key", two)]).key()
    except Refusal as caught:
        refusal = caught
    if refusal is None:
        assert key
        return
    assert refusal.kind in (Kind.KEY_MISSING, Kind.KEY_CONFLICT, Kind.KEY_UNKNOWN)
    assert refusal.details == {}
    if len(two.strip()) > 10:
        assert two.strip().decode("latin-1") not in refusal.message


# ---- the body's length ----


def test_the_bodys_length_is_read() -> None:
    assert read_head([(b"content-length", b"42")]).content_length == 42
    assert read_head([]).content_length is None


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.0", b"0x10", b"1 2", b"\xb2"])
def test_a_length_that_is_no_number_is_refused(value: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        _ = read_head([(b"content-length", value)]).content_length
    assert refusal.value.kind is Kind.INVALID_REQUEST


# ---- what goes on ----


def test_the_apis_own_headers_known_or_not_go_on_with_their_bytes_and_in_their_order() -> None:
    headers = [
        (b"anthropic-version", b"2023-06-01"),
        (b"anthropic-beta", b"a-2025, b-2026"),
        (b"anthropic-strange", b"  \xff\xfe kept \t"),
        (b"anthropic-beta", b"c-2026"),
        (b"user-agent", b"sdk/1"),
        (b"x-stainless-retry-count", b"0"),
        (b"idempotency-key", b"7"),
    ]
    assert read_head(list(headers)).onward == headers


@pytest.mark.parametrize(
    "name",
    [
        b"authorization",
        b"x-api-key",
        b"x-goog-api-key",
        b"cookie",
        b"host",
        b"content-length",
        b"content-type",
        b"accept-encoding",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"forwarded",
        b"x-forwarded-for",
        b"x-real-ip",
        b"via",
        b"origin",
        b"referer",
        b"accept",
        b"range",
        b"if-none-match",
        b"cf-connecting-ip",
        b"openai-organization",
        b"anthropic-dangerous-direct-browser-access",
        b"anthropic-organization-id",
        b"x-unknown",
    ],
)
def test_what_is_the_clients_own_or_of_one_hop_stays_behind(name: bytes) -> None:
    assert read_head([(name, b"1"), (b"x-app", b"1")]).onward == [(b"x-app", b"1")]


@pytest.mark.parametrize(
    "connections",
    [
        [b"x-claude-hop"],
        [b"keep-alive, X-Claude-Hop"],
        [b" x-claude-hop ,close"],
        [b"x-claude-hop", b"keep-alive"],
        [b"keep-alive", b"x-claude-hop"],
        [b"close", b"x-other,x-claude-hop"],
    ],
)
def test_headers_that_connection_names_stay_behind(connections: list[bytes]) -> None:
    named = [(b"x-claude-hop", b"secret"), (b"x-app", b"1")]
    assert read_head(named + [(b"connection", value) for value in connections]).onward == [(b"x-app", b"1")]
    assert read_head([(b"connection", value) for value in connections] + named).onward == [(b"x-app", b"1")]


@pytest.mark.parametrize("value", [b"keep-alive", b"Close", b""])
def test_a_connection_that_names_nothing_leaves_all_headers(value: bytes) -> None:
    assert read_head([(b"connection", value), (b"x-app", b"1")]).onward == [(b"x-app", b"1")]


@given(
    st.lists(st.tuples(st.sampled_from([b"x-api-key", b"authorization", b"x-app"]), st.binary(max_size=9)), max_size=5)
)
def test_no_key_goes_on(headers: list[Header]) -> None:
    assert all(name == b"x-app" for name, _ in read_head(headers).onward)


# ---- the query ----


@pytest.mark.parametrize(
    ("query", "onward"),
    [
        (b"", ""),
        (b"beta=true", "beta=true"),
        (b"key=secret", ""),
        (b"beta=true&key=secret", "beta=true"),
        (b"key=secret&beta=true&key=again", "beta=true"),
        (b"monkey=1", ""),
        (b"a=%C3%A4&beta=true&b", "beta=true"),
    ],
)
def test_of_a_query_only_what_the_apis_know_goes_on(query: bytes, onward: str) -> None:
    assert onward_query(query) == onward


# ---- whom it speaks to, and from where ----


def test_the_host_is_read_as_it_was_said_and_stays_here() -> None:
    head = read_head([(b"host", b"API.example.com:8080"), (b"x-app", b"1")])
    assert head.host == b"API.example.com:8080"
    assert head.onward == [(b"x-app", b"1")]
    assert read_head([]).host == b""


@pytest.mark.parametrize("origin", [b"https://page.example", b"null", b""])
def test_an_origin_tells_that_a_browser_asks_and_stays_here(origin: bytes) -> None:
    head = read_head([(b"origin", origin), (b"x-app", b"1")])
    assert head.from_browser
    assert head.onward == [(b"x-app", b"1")]
    assert not read_head([(b"x-app", b"1")]).from_browser
