"""Reading usage may take so long and no longer, on connections of its own."""

from urllib.parse import quote

import psycopg
import pytest

from services.ledger.store.usage import UsageFilter, UsageStore
from services.shared import database
from services.shared.errors import Kind, Refusal
from services.shared.settings import Secret
from tests.books import Books


async def test_a_reading_that_takes_too_long_is_refused_and_says_what_to_ask_for_instead(books: Books) -> None:
    url = Secret(books.url + "?options=" + quote("-c search_path=ledger"))
    pool = await database.connect(url, service="test", size=1, prepare="SET statement_timeout = 200")
    try:
        with psycopg.connect(books.url) as blocking:
            blocking.execute("LOCK TABLE ledger.usage_records IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Refusal) as refused:
                await UsageStore(pool).page(UsageFilter("acme"), 10)
        assert refused.value.kind is Kind.INVALID_REQUEST
        assert "ask for less" in refused.value.message
        assert await UsageStore(pool).page(UsageFilter("acme"), 10) == []
    finally:
        await pool.close()
