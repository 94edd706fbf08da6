"""Usage on the console's pages: sums, requests, one request with its price and receipt, the export."""

import csv
import io

import pytest

from tests.customers import customer_with_credit, make_key
from tests.deployment import MODEL, SONNET_NANO, Deployment, eventually
from tests.visitors import Visitor, customer, operator, text_of
from tollhouse.v1 import billing_pb2, usage_pb2

USAGE = "/dashboard/usage"
HAIKU = "claude-haiku-4-5"


class Used:
    """A customer with two keys who asked three times."""

    def __init__(self, tollhouse: Deployment) -> None:
        self.visitor = customer_with_credit(tollhouse)
        first_path, first = make_key(self.visitor, name="first key")
        _, second = make_key(self.visitor, name="=second key")
        self.first_id = first_path.rpartition("/")[2]
        answers = [
            tollhouse.messages(first),
            tollhouse.messages(first, model=HAIKU, stream=True),
            tollhouse.messages(second, simulator="cache_read=100"),
        ]
        assert [answer.status for answer in answers] == [200] * 3
        self.requests = [answer.headers["x-request-id"] for answer in answers]
        self.usage = [
            tollhouse.usage.GetUsage(usage_pb2.GetUsageRequest(request_id=request_id, wait_ms=5000)).usage
            for request_id in self.requests
        ]


@pytest.fixture(scope="module")
def used(tollhouse: Deployment) -> Used:
    return Used(tollhouse)


def table(visitor: Visitor, **asked: str) -> list[dict[str, str]]:
    answer = visitor.get(f"{USAGE}.csv", params=asked)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_explorer_adds_up_what_the_ledger_booked(used: Used) -> None:
    page = text_of(used.visitor.get(USAGE))
    assert "Requests 3" in page
    assert all(name in page for name in (MODEL, HAIKU, "first key", "=second key"))


def test_filters_tell_keys_models_and_hours_apart(used: Used) -> None:
    assert "Requests 2" in text_of(used.visitor.get(USAGE, params={"key": used.first_id}))
    assert "Requests 1" in text_of(used.visitor.get(USAGE, params={"model": HAIKU, "range": "24h"}))
    both = {"key": used.first_id, "model": MODEL, "by": "model", "period": "hour"}
    assert "Requests 1" in text_of(used.visitor.get(USAGE, params=both))
    assert "Nothing was used" in text_of(used.visitor.get(USAGE, params={"since": "2026-01-01", "until": "2026-01-02"}))
    each = text_of(used.visitor.get(USAGE, params={"by": "key", "measure": "tokens"}))
    assert "Tokens, each key" in each


def test_a_list_goes_on_where_its_page_ended(used: Used) -> None:
    newest = used.requests[-1]
    page = used.visitor.get(USAGE, params={"after": newest}).text
    assert newest not in page
    assert used.requests[0] in page


def test_the_export_has_every_request_with_its_exact_cost(used: Used) -> None:
    rows = table(used.visitor)
    assert [row["request_id"] for row in rows] == used.requests[::-1]
    costs = {row["request_id"]: row["cost_usd"] for row in rows}
    for usage in used.usage:
        assert float(costs[usage.request_id]) == usage.cost_nano / 1e9
    assert rows[0]["key_name"] == "'=second key"
    assert [row["model"] for row in table(used.visitor, model=HAIKU)] == [HAIKU]
    assert table(used.visitor, since="2026-01-01", until="2026-01-02") == []


def test_one_request_says_what_each_class_of_token_cost(used: Used) -> None:
    usage = used.usage[0]
    page = text_of(used.visitor.get(f"{USAGE}/{usage.request_id}"))
    assert f"Input {usage.tokens.input:,} $3.00 100 %" in page
    cost = usage.tokens.input * SONNET_NANO["input"] + usage.tokens.output * SONNET_NANO["output"]
    assert cost == usage.cost_nano
    assert f"${cost / 1e9:.9f}".rstrip("0") in page
    assert usage.request_sha256.hex() in page


def test_what_operators_alone_may_know_is_on_no_customers_page(tollhouse: Deployment, used: Used) -> None:
    known = tollhouse.usage.GetUsage(usage_pb2.GetUsageRequest(request_id=used.requests[0])).usage.attempts_detail[0]
    assert known.upstream_account_id
    for path in (USAGE, f"{USAGE}.csv", f"{USAGE}/{used.requests[0]}", "/dashboard/models"):
        assert known.upstream_account_id not in used.visitor.get(path).text


def test_a_receipt_is_downloaded_as_the_api_gives_it(tollhouse: Deployment, used: Used) -> None:
    answer = used.visitor.get(f"{USAGE}/{used.requests[0]}/receipt")
    assert answer.headers["content-type"] == "application/jwt"
    assert f'filename="receipt-{used.requests[0]}.jwt"' in answer.headers["content-disposition"]
    asked = usage_pb2.GetReceiptRequest(request_id=used.requests[0])
    assert answer.text.split(".")[:2] == tollhouse.usage.GetReceipt(asked).receipt.split(".")[:2]


def test_another_tenants_request_does_not_exist(tollhouse: Deployment, used: Used) -> None:
    for other in (customer(tollhouse), operator(tollhouse)):
        for path in (f"{USAGE}/{used.requests[0]}", f"{USAGE}/{used.requests[0]}/receipt"):
            assert other.get(path).status_code == 404
        assert used.requests[0] not in other.get(USAGE, params={"key": used.first_id}).text
        assert used.requests[0] not in other.get(f"{USAGE}.csv", params={"key": used.first_id}).text
    assert used.visitor.get(f"{USAGE}/nonsense").status_code == 404


def test_the_overview_tells_of_today_and_is_live(used: Used) -> None:
    assert "Requests today 3" in text_of(used.visitor.get("/dashboard"))
    far = used.visitor.get("/dashboard/live", params={"until": "99999999999999"})
    assert far.status_code == 200
    assert "Requests today 3" in text_of(far)
    assert "<html" not in far.text


def test_a_page_that_is_left_open_stops_asking(used: Used) -> None:
    for until in ("1", "", "soon"):
        answer = used.visitor.get("/dashboard/live", params={"until": until})
        assert answer.status_code == 286
        assert "resting" in text_of(answer)


def test_a_first_request_shows_on_the_overview_by_itself(tollhouse: Deployment) -> None:
    visitor = customer_with_credit(tollhouse)
    _, secret = make_key(visitor)
    assert "Three steps" in text_of(visitor.get("/dashboard"))
    assert tollhouse.messages(secret).status == 200
    live = {"until": "99999999999999"}
    eventually(lambda: "Requests today 1" in text_of(visitor.get("/dashboard/live", params=live)))


# ---- the ledger's part ----


def test_sums_are_of_one_key_or_model_where_that_is_asked(tollhouse: Deployment, used: Used) -> None:
    tenant_id = used.usage[0].tenant_id

    def requests(**only: str) -> int:
        asked = usage_pb2.SummarizeUsageRequest(tenant_id=tenant_id, period=usage_pb2.USAGE_PERIOD_DAY, **only)  # type: ignore[arg-type]
        return sum(bucket.requests for bucket in tollhouse.usage.SummarizeUsage(asked).buckets)

    assert requests() == 3
    assert requests(key_id=used.first_id) == 2
    assert requests(key_id=used.first_id, model=HAIKU) == 1
    assert requests(model="no-such-model") == 0


def test_a_price_row_is_told_by_its_version(tollhouse: Deployment, used: Used) -> None:
    version = used.usage[0].price_version
    price = tollhouse.billing.GetPrice(billing_pb2.GetPriceRequest(price_version=version)).price
    assert (price.price_version, price.model, price.input_pico) == (version, MODEL, 3_000_000)
    for unknown in (0, 2**40, 2**64 - 1):
        with pytest.raises(Exception, match="no price row"):
            tollhouse.billing.GetPrice(billing_pb2.GetPriceRequest(price_version=unknown))
