"""The books."""

from services.simulator.served import Book, Served, credential, sha256
from services.simulator.tokens import Counts


def served(number: int = 0) -> Served:
    return Served("/v1/messages", [], "", f"req_{number}", f"msg_{number}")


def test_an_answer_counts_when_it_has_ended() -> None:
    book, one = Book(1000), served()
    book.begin(one)
    one.status, one.tokens = 200, Counts(input=3, output=2)
    assert (book.totals()["requests"], book.totals()["open"], book.totals()["by_status"]) == (1, 1, {})
    book.end(one)
    assert (book.totals()["open"], book.totals()["by_status"]) == (0, {"200": 1})
    assert book.totals()["tokens"] == {
        "input": 3, "output": 2, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0
    }  # fmt: skip


def test_a_request_that_got_no_answer_has_no_status_to_count() -> None:
    book, one = Book(1000), served()
    book.begin(one)
    one.aborted = True
    book.end(one)
    assert (book.totals()["by_status"], book.totals()["aborted"]) == ({}, 1)


def test_what_was_under_way_at_a_reset_is_not_counted_after_it() -> None:
    book, before, after = Book(1000), served(1), served(2)
    book.begin(before)
    book.reset()
    book.begin(after)
    assert book.totals()["open"] == 2
    for one in (before, after):
        one.status, one.tokens = 200, Counts(output=1)
        book.end(one)
    totals = book.totals()
    assert (totals["requests"], totals["open"], totals["by_status"]) == (1, 0, {"200": 1})
    assert totals["tokens"]["output"] == 1


def test_the_last_thousand_are_remembered() -> None:
    book = Book(1000)
    for number in range(1002):
        book.begin(served(number))
    assert book.totals()["requests"] == 1002
    assert [one["request_id"] for one in book.last(2)] == ["req_1000", "req_1001"]
    assert len(book.last(5000)) == 1000
    assert book.last(0) == []


def test_credentials_are_shown_by_their_digest_whatever_the_case_of_their_header() -> None:
    one = served()
    one.headers = [("X-Api-Key", "secret"), ("Authorization", "Bearer secret"), ("X-App", "cli")]
    assert one.shown()["headers"] == [
        ("X-Api-Key", sha256(b"secret")),
        ("Authorization", sha256(b"secret")),
        ("X-App", "cli"),
    ]
    assert credential("bearer  x ") == credential("x") == "x"
    assert credential("Bearer") == ""
