"""Unit tests of services.console.brands."""

import pytest

from services.console.brands import BUILT_IN, bare_host, by_host
from tollhouse.v1 import auth_pb2


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("House.Example", "house.example"),
        ("house.example:8090", "house.example"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("", ""),
    ],
)
def test_a_host_is_compared_without_case_and_port(host: str, expected: str) -> None:
    assert bare_host(host) == expected


def test_hosts_without_a_brand_have_the_default_one() -> None:
    one = auth_pb2.Brand(name="one", hosts=["one.example", "1.example"])
    default = auth_pb2.Brand(name="two", is_default=True)
    hosts, otherwise = by_host([one, default])
    assert hosts == {"one.example": one, "1.example": one}
    assert otherwise == default
    assert by_host([one])[1] is BUILT_IN
