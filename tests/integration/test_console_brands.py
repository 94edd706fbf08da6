"""The console speaks for the brand of its host, and the operations port says how it is."""

import json
from collections.abc import Iterator

import pytest

from tests.deployment import Deployment, eventually, request
from tests.visitors import Visitor, text_of
from tollhouse.v1 import auth_pb2

HOUSE = auth_pb2.Brand(
    name="console-house",
    hosts=["house.example"],
    base_paths=["/api/v1"],
    key_prefix="house_",
    title="The House",
    accent="#9a3412",
    api_url="https://api.house.example",
    words={"headline": "Models of the house", "key": "house key", "keys": "house keys"},
)


@pytest.fixture(scope="module")
def house(tollhouse: Deployment) -> Iterator[auth_pb2.Brand]:
    yield tollhouse.auth.PutBrand(auth_pb2.PutBrandRequest(brand=HOUSE)).brand
    tollhouse.auth.DeleteBrand(auth_pb2.DeleteBrandRequest(name=HOUSE.name))


def test_a_host_has_the_name_words_and_base_url_of_its_brand(tollhouse: Deployment, house: auth_pb2.Brand) -> None:
    visitor = Visitor.of(tollhouse, host="HOUSE.example:8090")
    eventually(lambda: "Models of the house" in visitor.get("/").text)
    page = text_of(visitor.get("/"))
    assert "The House" in page
    assert "each house key" in page
    assert "https://api.house.example/api/v1/messages" in page
    assert "x-api-key: house_..." in page


def test_a_host_has_the_colours_of_its_brand(tollhouse: Deployment, house: auth_pb2.Brand) -> None:
    visitor = Visitor.of(tollhouse, host="house.example")
    eventually(lambda: "--accent:#9a3412" in visitor.get("/brand.css").text)
    assert "--accent:#0f6b5c" in Visitor.of(tollhouse).get("/brand.css").text


def test_other_hosts_have_the_base_url_of_the_edge(tollhouse: Deployment) -> None:
    assert f"{tollhouse.base_url}/v1/messages" in text_of(Visitor.of(tollhouse).get("/"))


def test_the_operations_port_says_how_the_console_is(tollhouse: Deployment) -> None:
    processes = json.loads((tollhouse.state_dir / "run.json").read_text())["processes"]
    url = next(process["health_url"] for process in processes if process["part"] == "console")
    ops = url.removesuffix("/readyz")
    assert request(ops, "GET", "/readyz").status == 200
    assert request(ops, "GET", "/healthz").status == 200
    assert request(ops, "GET", "/sign-in").status == 404
