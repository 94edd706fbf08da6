"""Unit tests of services.shared.metrics."""

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.shared.metrics import OTHER, Exposition, Names, counter, gauge, histogram

BUILT = counter("tollhouse_test_built", "things that were built", "colour")
DEPTH = gauge("tollhouse_test_depth", "how deep it is")
SIZES = histogram("tollhouse_test_size_bytes", "how large things are", "colour", bounds=(1.0, 2.5, 10.0))


def samples(exposition: Exposition) -> dict[str, float]:
    """Every sample as a query would name it."""

    def every() -> Iterator[tuple[str, float]]:
        text, _ = exposition.text()
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                yield f"{sample.name}{{{labels}}}", sample.value

    return dict(every())


@pytest.fixture
def exposition() -> Exposition:
    return Exposition("edge")


def test_a_tally_is_a_counter(exposition: Exposition) -> None:
    tally = exposition.tally(BUILT)
    tally["red",] += 1
    tally["red",] += 1
    tally["blue",] += 3
    shown = samples(exposition)
    assert shown["tollhouse_test_built_total{colour=red}"] == 2
    assert shown["tollhouse_test_built_total{colour=blue}"] == 3
    assert BUILT.shown == "tollhouse_test_built_total"


def test_what_others_know_is_read_at_each_scrape(exposition: Exposition) -> None:
    depths = iter((7, 5))
    exposition.show(DEPTH, lambda: next(depths))
    assert [samples(exposition)["tollhouse_test_depth{}"] for _ in range(2)] == [7, 5]


def test_a_bucket_holds_all_that_is_at_most_its_bound(exposition: Exposition) -> None:
    spread = exposition.histogram(SIZES)
    for size in (0.5, 1.0, 2.5, 2.6, 99):
        spread["red",].observe(size)
    shown = samples(exposition)
    of_red = [shown[f"tollhouse_test_size_bytes_bucket{{colour=red,le={le}}}"] for le in ("1.0", "2.5", "10.0", "+Inf")]
    assert of_red == [2, 3, 4, 5]
    assert shown["tollhouse_test_size_bytes_count{colour=red}"] == 5
    assert shown["tollhouse_test_size_bytes_sum{colour=red}"] == pytest.approx(105.6)


def test_every_process_shows_itself(exposition: Exposition) -> None:
    shown = samples(exposition)
    assert shown["process_resident_memory_bytes{}"] > 1 << 20
    assert any(name.startswith("tollhouse_build_info{service=edge,version=") for name in shown)


async def test_the_loop_is_watched(exposition: Exposition) -> None:
    watching = asyncio.create_task(exposition.watch_loop())
    lag = exposition.loop_lag["edge",]
    while not sum(lag.counts):
        await asyncio.sleep(0.01)
    watching.cancel()
    assert lag.sum >= 0


def test_a_label_has_so_many_values_and_the_others_are_one() -> None:
    names = Names(2)
    assert [names.of(name) for name in ("a", "b", "c", "a", "d", "b")] == ["a", "b", OTHER, "a", OTHER, "b"]
