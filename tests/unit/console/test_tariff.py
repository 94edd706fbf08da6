"""Unit tests of services.console.tariff and services.console.catalogue."""

from services.console import tariff
from services.console.catalogue import Catalogue
from services.console.tariff import Payer, Tariff
from tollhouse.v1 import billing_pb2, router_pb2

NOW = 1_000


def price(model: str, dollars: int, effective_ms: int = 1) -> billing_pb2.Price:
    return billing_pb2.Price(model=model, input_pico=dollars * 1_000_000, effective_ms=effective_ms)


def multiplier(scope: str, name: str, ppm: int, effective_ms: int = 1) -> billing_pb2.Multiplier:
    return billing_pb2.Multiplier(scope=scope, name=name, ppm=ppm, effective_ms=effective_ms)


def of(*rows: billing_pb2.Price | billing_pb2.Multiplier) -> Tariff:
    book = billing_pb2.ListPricesResponse(
        prices=[row for row in rows if isinstance(row, billing_pb2.Price)],
        multipliers=[row for row in rows if isinstance(row, billing_pb2.Multiplier)],
    )
    return Tariff(book, NOW)


def test_multipliers_of_every_scope_apply_together() -> None:
    made = of(
        price("m", 10),
        multiplier("all", "", 900_000),
        multiplier("brand", "house", 500_000),
        multiplier("plan", "pro", 800_000),
        multiplier("group", "fast", 2_000_000),
    )
    rates = made.rates("m", Payer("house", "pro", "fast"))
    assert rates is not None
    assert rates.multiplier_ppm == 720_000
    assert tariff.a_million(rates, "input") == 7_200_000_000
    assert made.ppm(Payer("other", "free", "default")) == 900_000


def test_what_is_to_come_is_told_and_not_charged_yet() -> None:
    made = of(price("m", 10), price("m", 8, NOW + 5), price("m", 6, NOW + 9), multiplier("all", "", 1, NOW + 1))
    rates, change = made.rates("m", Payer()), made.change("m", Payer())
    assert rates is not None
    assert change is not None
    assert tariff.a_million(rates, "input") == 10_000_000_000
    assert (change.at_ms, tariff.a_million(change.rates, "input")) == (NOW + 5, 8_000_000_000)


def test_a_model_without_a_price_has_no_rates() -> None:
    assert of(price("m", 1, NOW + 1)).rates("m", Payer()) is None
    assert of().change("m", Payer()) is None


def test_percentages_say_no_more_than_they_must() -> None:
    assert [tariff.per_cent(ppm) for ppm in (1_000_000, 800_000, 1_125_000, 333_333)] == [
        "100 %",
        "80 %",
        "112.5 %",
        "33.3333 %",
    ]


def test_a_group_may_call_what_its_pools_serve_and_a_list_narrows_it() -> None:
    routes = router_pb2.GetRoutesResponse(
        pools=[router_pb2.Pool(name="a", models=["x", "y"]), router_pb2.Pool(name="b", models=["y", "z"])],
        groups=[router_pb2.Group(name="both", pools=["b", "a"]), router_pb2.Group(name="one", pools=["b", "gone"])],
        models=[router_pb2.Model(model=name) for name in "xyz"],
    )
    catalogue = Catalogue(routes)
    assert [model.model for model in catalogue.models("both")] == ["x", "y", "z"]
    assert [model.model for model in catalogue.models("one")] == ["y", "z"]
    assert [model.model for model in catalogue.models("both", ["z", "unserved"])] == ["z"]
    assert catalogue.models("unknown") == []
