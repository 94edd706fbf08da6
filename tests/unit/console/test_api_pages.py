"""Unit tests of services.console.api.pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.api.pages import page_of
from services.console.problems import Problem


def position(item: tuple[int, str]) -> tuple[int, str]:
    return item


@given(st.sets(st.tuples(st.integers(0, 5), st.text("abc", max_size=3))), st.integers(1, 5))
def test_all_pages_together_are_the_list_in_its_order(items: set[tuple[int, str]], limit: int) -> None:
    found, cursor = [], ""
    while True:
        page = page_of(items, position, {"limit": str(limit)} | ({"cursor": cursor} if cursor else {}))
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if not cursor:
            break
    assert found == sorted(items)


@pytest.mark.parametrize("cursor", ["!", "e30", "WzEsMl0", "x" * 10_000, "é", "[1"])
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    with pytest.raises(Problem):
        page_of([], position, {"cursor": cursor})


@pytest.mark.parametrize("limit", ["", "-1", "0", "1001", "1e3", "٣", "9" * 5000, "0000010000000"])
def test_a_limit_that_does_not_fit_is_refused(limit: str) -> None:
    with pytest.raises(Problem):
        page_of([], position, {"limit": limit})
