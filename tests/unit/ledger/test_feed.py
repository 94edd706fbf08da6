"""Unit tests of services.ledger.feed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import psycopg
import pytest

from services.ledger.feed import Feed
from services.ledger.store.usage import UsageStore
from services.shared import clock
from services.shared.errors import Kind, Refusal


class Books:
    """The store's port as the feed sees it: a head, and how often it was looked for."""

    def __init__(self) -> None:
        self.newest = 0
        self.looked = 0
        self.away = False

    async def head(self) -> int:
        self.looked += 1
        if self.away:
            raise psycopg.OperationalError("away")
        return self.newest


@contextlib.asynccontextmanager
async def running(books: Books, limit: int = 10) -> AsyncIterator[Feed]:
    feed = Feed(cast(UsageStore, books), limit)
    task = asyncio.create_task(feed.run())
    yield feed
    task.cancel()


async def test_a_ring_wakes_whoever_waits_for_the_books_to_grow() -> None:
    books = Books()
    async with running(books) as feed:
        with feed.watching():
            waiting = [asyncio.create_task(feed.beyond(4, 5)) for _ in range(3)]
            await asyncio.sleep(0.05)
            books.newest = 5
            began_s = clock.monotonic_s()
            feed.ring()
            assert await asyncio.gather(*waiting) == [5, 5, 5]
            assert clock.monotonic_s() - began_s < 0.5
            assert books.looked == 1


async def test_books_that_grew_unannounced_are_found_within_a_second() -> None:
    books = Books()
    async with running(books) as feed:
        with feed.watching():
            books.newest = 1
            assert await feed.beyond(0, 3) == 1


async def test_a_wait_ends_with_its_time() -> None:
    async with running(Books()) as feed:
        with feed.watching():
            began_s = clock.monotonic_s()
            assert await feed.beyond(7, 0.1) == 0
            assert 0.05 < clock.monotonic_s() - began_s < 1


async def test_nothing_is_asked_while_nobody_watches() -> None:
    books = Books()
    async with running(books) as feed:
        feed.ring()
        await asyncio.sleep(0.1)
    assert books.looked == 0


async def test_the_feed_outlives_a_database_that_is_away() -> None:
    books = Books()
    books.away = True
    async with running(books) as feed:
        with feed.watching():
            feed.ring()
            assert await feed.beyond(0, 0.1) == 0
            books.away, books.newest = False, 3
            feed.ring()
            assert await feed.beyond(0, 3) == 3


def test_watchers_are_counted_in_and_out() -> None:
    feed = Feed(cast(UsageStore, Books()), limit=1)
    for _ in range(2):
        with feed.watching():
            with pytest.raises(Refusal) as caught, feed.watching():
                pass
            assert caught.value.kind is Kind.WATCHERS_FULL
