"""Unit tests of what is pure in operators' pages."""

import pytest
from starlette.datastructures import URL, QueryParams

from services.console import live
from services.console.deeds import beside, printable
from services.console.forms import Form
from services.console.pages.operators import account_form, brands, fields, fleet, prices
from services.console.pages.operators.lists import Asked
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, billing_pb2, ledger_pb2, router_pb2, types_pb2, usage_pb2

HOUR_MS = 3_600_000


# ---- fields ----


def test_lines_of_pairs_are_read_and_a_name_alone_stands_for_itself() -> None:
    assert fields.pairs(" a = b \n\nc\n") == {"a": "b", "c": "c"}
    assert fields.pair_lines({"c": "c", "a": "b"}, " = ", fold=True) == "a = b\nc"


@pytest.mark.parametrize("text", ["= b", "a =", "a = b\na = c"])
def test_a_line_that_is_no_pair_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"“"):
        fields.pairs(text)


def test_limits_are_read_as_they_are_written() -> None:
    text = "requests 60\ntokens 200000 claude-opus-4-6\nconcurrent 0"
    read = fields.limits(text)
    assert fields.limit_lines(read) == text
    assert fields.limits_spoken(read)[1] == "200,000 tokens/min of claude-opus-4-6"


@pytest.mark.parametrize("text", ["calls 3", "requests", "requests many", "requests -1"])
def test_a_line_that_is_no_limit_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"“"):
        fields.limits(text)


@pytest.mark.parametrize(("text", "expected"), [("", 0), ("1,000", 1000), (" -5 ", -5)])
def test_whole_numbers(text: str, expected: int) -> None:
    assert fields.whole(text, least=-10, most=1000) == expected


@pytest.mark.parametrize("text", ["1.5", "x", "²", "--1", "1001", "9" * 30])
def test_what_is_no_whole_number_in_its_bounds_is_said(text: str) -> None:
    with pytest.raises(ValueError):
        fields.whole(text, most=1000)


@pytest.mark.parametrize(("text", "expected"), [("0.8", 800_000), ("80%", 800_000), ("1", 1_000_000)])
def test_factors(text: str, expected: int) -> None:
    assert fields.ppm(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "101", "0.0000001", "x", "nan"])
def test_what_is_no_factor_is_said(text: str) -> None:
    with pytest.raises(ValueError):
        fields.ppm(text)


@pytest.mark.parametrize("text", ["0", "-5", "much", "", "0.0000000001", "inf"])
def test_what_is_no_amount_is_said(text: str) -> None:
    with pytest.raises(ValueError):
        fields.nano(text)


@pytest.mark.parametrize("text", ["3", "0.8", "0.075", "15", "0"])
def test_rates_are_shown_as_they_were_typed(text: str) -> None:
    assert fields.dollars_a_million(fields.rate(text)) == text
    assert fields.dollars_a_request(fields.request_rate(text)) == text


def test_a_moment_that_is_over_is_refused_and_none_is_now() -> None:
    assert fields.moment_ms(" ") == 0
    assert fields.moment_ms("2090-01-01T00:00") == 3_786_912_000_000
    for text in ("2001-01-01T00:00", "soon"):
        with pytest.raises(ValueError):
            fields.moment_ms(text)


# ---- forms ----


def test_an_upstream_accounts_form_says_what_the_account_says() -> None:
    account = router_pb2.UpstreamAccount(
        name="a",
        kind=router_pb2.UPSTREAM_KIND_GEMINI_OPENAI,
        base_url="https://x",
        models={"m": "m", "alias": "m"},
        priority=-3,
        pool="eu",
        weight=7,
        headers={"x-a": "b: c"},
        proxy="http://p:1",
        limits=router_pb2.AccountLimits(concurrent=2, output_tokens_per_minute=10**11),
        resale_allowed=True,
        note="n",
        enabled=True,
    )
    form = account_form.form_of(account)
    assert account_form.account_of(form) == account
    assert not form.errors


def test_every_kind_of_upstream_account_can_be_chosen() -> None:
    known = {number for number in router_pb2.UpstreamKind.values() if number}
    assert account_form.KIND_NAMES.keys() == known
    assert set(account_form.KIND_NAMES.values()) == account_form.KINDS.keys()


def test_a_brands_form_has_every_field_and_says_what_the_brand_says() -> None:
    brand = auth_pb2.Brand(
        name="house",
        hosts=["a.example", "b.example"],
        base_paths=["/v1"],
        key_prefix="sk-h-",
        reveal=True,
        mask="{prefix}",
        error_types={"a": "b"},
        openai_error_types={"c": "d"},
        error_codes={"e": "f"},
        bare_errors=True,
        unknown_model_status=503,
        default_max_tokens=4096,
        request_id_header="X-A",
        upstream_account_id_header="X-B",
        model_list_extras=True,
        google_keys_on_models=True,
        top_ups=[auth_pb2.TOP_UP_VOUCHER, auth_pb2.TOP_UP_CRYPTO],
        is_default=True,
        title="House",
        accent="#224488",
        api_url="https://api.example",
        words={"key": "token"},
    )
    assert {field.name for field, _ in brand.ListFields()} == set(auth_pb2.Brand.DESCRIPTOR.fields_by_name)
    assert brands.brand_of(brands.form_of(brand)) == brand


def test_a_credential_that_was_typed_is_not_shown_again() -> None:
    assert Form({"credential": "sk-secret"}).shown("credential") == ""


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("base_url 'x' is not an http(s) URL of a host", "base_url"),
        ("weight 5000: from 1 to 1000", "weight"),
        ("there is no pool 'x'", "pool"),
        ("something else", ""),
    ],
)
def test_a_refusal_stands_beside_the_field_that_it_names(message: str, field: str) -> None:
    form = beside(Form(), Refusal(Kind.INVALID_REQUEST, message), base_url="base_url", weight="weight", pool="pool")
    assert list(form.errors) == [field]


def test_what_is_our_own_fault_is_beside_no_field() -> None:
    with pytest.raises(Refusal):
        beside(Form(), Refusal(Kind.ROUTER_UNAVAILABLE, "pool"), pool="pool")


def test_the_audit_log_gets_texts_that_it_takes() -> None:
    assert printable("a\nb\x00") == "a b"
    assert len(printable("x" * 500)) == 200


# ---- lists, live parts ----


def test_links_of_a_list_keep_its_filters() -> None:
    asked = Asked("/operator/tenants", {"search": "a&b", "plan": ""}, "t1")
    assert asked.onward("t2") == "/operator/tenants?search=a%26b&after=t2"
    assert asked.first == "/operator/tenants?search=a%26b"
    assert not asked.onward("")
    assert QueryParams(URL(asked.onward("t2")).query)["search"] == "a&b"


def test_every_line_of_an_event_is_a_line_of_its_data() -> None:
    assert live.event("piece", "a\n\nb") == "event: piece\ndata: a\ndata: \ndata: b\n\n"
    assert live.event("replicas", '{"name":"a\u2028b"}\n') == 'event: replicas\ndata: {"name":"a\u2028b"}\n\n'


def test_silent_replicas_do_not_count() -> None:
    part = fleet.part_of(
        [
            ledger_pb2.Replica(service="edge", name="a", figures={"requests": 5, "p95_ms": 10}),
            ledger_pb2.Replica(service="edge", name="b", figures={"requests": 7, "p95_ms": 30}),
            ledger_pb2.Replica(service="edge", name="c", figures={"requests": 100}, silent_ms=30_000),
            ledger_pb2.Replica(service="ledger", name="l", figures={"lag_ms": 8}),
            ledger_pb2.Replica(service="ledger", name="m", figures={"lag_ms": 8}),
        ]
    )
    assert (part["work"].requests, part["work"].p95_ms, part["work"].lag_ms) == (12, 30, 8)
    assert [len(replicas) for _, replicas in part["services"]] == [3, 0, 0, 2]


def test_hours_without_usage_are_shown_too() -> None:
    hours = fleet.by_hour([usage_pb2.UsageBucket(start_ms=48 * HOUR_MS, requests=3)], 48 * HOUR_MS + 5)
    assert len(hours) == 24
    assert [hour.requests for hour in hours[-2:]] == [0, 3]


def test_a_margin_is_of_the_price_in_force() -> None:
    def rates(input_pico: int, at: int) -> billing_pb2.Price:
        return billing_pb2.Price(model="m", input_pico=input_pico, effective_ms=at)

    book = billing_pb2.PriceBook(
        prices=[rates(4, 1), rates(9, 99)],
        costs=[
            billing_pb2.Cost(rates=rates(3, 1)),
            billing_pb2.Cost(upstream_account_id="acc_x", rates=rates(100, 1)),
        ],
    )
    priced, unpriced = prices.lines(book, ["m", "n"], now_ms=50)
    assert (priced.margin("input"), priced.later, priced.at_a_loss) == ("25.0 %", 1, False)
    assert (unpriced.price, unpriced.margin("input")) == (None, "–")


def test_every_metric_that_can_be_limited_has_a_word() -> None:
    assert set(fields.METRICS.values()) == {number for number in types_pb2.LimitMetric.values() if number}
