"""Unit tests of what is pure in the pages about usage."""

import csv
import io

from services.console.pages.usage import csv_lines, csv_row, key_options
from services.console.pages.usage_request import lines
from services.shared.pricing import Rates
from tollhouse.v1 import auth_pb2, events_pb2, types_pb2, usage_pb2

USAGE = usage_pb2.Usage(
    request_id="req_1",
    key_id="key_1",
    model="claude-sonnet-4-6",
    status=events_pb2.USAGE_STATUS_OK,
    tokens=types_pb2.TokenCounts(input=781, output=921),
    cost_nano=18_234_000,
    price_version=3,
    multiplier_ppm=800_000,
    created_ms=1_795_000_000_123,
)


def test_a_line_says_exactly_what_a_request_cost() -> None:
    row = csv_row(USAGE, "production")
    assert row[:2] == ["req_1", "2026-11-18T11:06:40.123+00:00"]
    assert "0.018234" in row
    assert "0.8" in row


def test_a_name_is_no_formula_and_no_column() -> None:
    row = csv_row(USAGE, '=HYPERLINK("http://evil.example"),x\n')
    read = next(csv.reader(io.StringIO(csv_lines([row]))))
    assert read[3].startswith("'=")
    assert len(read) == len(row)


def test_a_deleted_key_can_still_be_filtered_by() -> None:
    keys = [auth_pb2.Key(key_id="key_1", name="one")]
    assert key_options(keys, "key_abcdef") == {"": "All keys", "key_1": "one", "key_abcdef": "deleted key abcdef"}
    assert list(key_options(keys, "")) == ["", "key_1"]


def test_each_class_of_token_has_its_line_and_its_price() -> None:
    rates = Rates(3, 3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000, request=1_000_000)
    tokens = types_pb2.TokenCounts(input=1000, cache_read=2000, requests=1)
    found = lines(rates, tokens, 500_000)
    assert [(line.label, line.tokens, line.million_nano, line.cost_nano) for line in found] == [
        ("Input", 1000, 3_000_000_000, 1_500_000),
        ("Cache read", 2000, 300_000_000, 300_000),
        ("The request itself", 1, 1000, 500),
    ]
