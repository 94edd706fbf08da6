"""Unit tests of services.edge.sizing."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.sizing import input_tokens_at_most, input_tokens_likely


def body(*blocks: object) -> bytes:
    messages = [{"role": "user", "content": list(blocks)}]
    return json.dumps({"model": "opus", "max_tokens": 10, "messages": messages}, ensure_ascii=False).encode()


def image(size_bytes: int) -> dict[str, object]:
    data = base64.b64encode(bytes(size_bytes)).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def prose(text: str) -> dict[str, object]:
    return {"type": "text", "text": text}


@given(st.text(max_size=2_000))
def test_text_takes_two_bytes_a_token_or_more(text: str) -> None:
    request = body(prose(text))
    assert input_tokens_at_most(request) == len(request) // 2 + 1


def test_an_image_counts_by_its_size_and_not_as_text() -> None:
    without = input_tokens_at_most(body(prose("look"), image(0)))
    assert input_tokens_at_most(body(prose("look"), image(30_000))) == without + 5_000
    length = len(base64.b64encode(bytes(3_000_000)))
    assert input_tokens_at_most(body(prose("look"), image(3_000_000))) == without + length // 16


def test_each_of_several_images_counts() -> None:
    one = input_tokens_at_most(body(image(30_000)))
    two = input_tokens_at_most(body(image(30_000), image(30_000)))
    assert 5_000 <= two - one <= 5_100


def test_text_beside_an_image_counts_in_full() -> None:
    long = "a" * 100_000
    assert input_tokens_at_most(body(prose(long), image(30_000))) >= 50_000 + 5_000


def test_text_that_only_begins_like_base64_counts_as_text() -> None:
    begun = image(0)
    begun["source"] = {"type": "base64", "media_type": "application/pdf", "data": "a" * 600 + " and so on" * 10_000}
    assert input_tokens_at_most(body(begun)) >= 50_000


def test_a_text_document_counts_as_text() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a" * 100_000}}
    assert input_tokens_at_most(body(document)) >= 50_000


def test_data_is_base64_in_whatever_order_its_source_says_so() -> None:
    data = base64.b64encode(bytes(300_000)).decode()
    last = {"type": "image", "source": {"data": data, "media_type": "image/png", "type": "base64"}}
    assert input_tokens_at_most(body(last)) < 30_000


def test_what_the_upstream_fetches_counts_although_it_is_not_here() -> None:
    remote = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    assert input_tokens_at_most(body(remote)) >= 5_000


@pytest.mark.parametrize("size_bytes", [0, 10, 2_000])
def test_small_data_counts_as_text(size_bytes: int) -> None:
    request = body(image(size_bytes), prose("x" * 10_000))
    assert input_tokens_at_most(request) == len(request) // 2 + 1


@given(st.lists(st.sampled_from([b'"data"', b'"', b"\\", b":", b"x" * 5_000, b"{", b"\xff"]), max_size=12))
def test_no_bytes_make_the_estimate_raise_or_vanish(parts: list[bytes]) -> None:
    assert input_tokens_at_most(b"".join(parts)) >= 1


@pytest.mark.parametrize("name", ["url", "image_url", "file_url", "file_data"])
def test_an_image_in_a_data_url_counts_by_its_size_and_not_as_text(name: str) -> None:
    data = base64.b64encode(bytes(3_000_000)).decode()
    request = body({"type": "some", name: f"data:image/png;base64,{data}"})
    assert input_tokens_at_most(request) == (len(request) - len(data)) // 2 + 1 + len(data) // 16


@pytest.mark.parametrize("name", ["url", "image_url", "file_url"])
def test_what_stands_elsewhere_counts_whatever_its_address_is_called(name: str) -> None:
    request = body({"type": "image_url", name: "https://example.com/cat.png"})
    assert input_tokens_at_most(request) == len(request) // 2 + 1 + 5_000


def test_a_data_url_within_a_text_counts_as_text() -> None:
    request = body(
        prose("data:image/png;base64," + "A" * 50_000), prose('"url": "data:image/png;base64,' + "A" * 50_000)
    )
    assert input_tokens_at_most(request) == len(request) // 2 + 1


@pytest.mark.parametrize("text", [b"a" * 12 + b"url", b"a" * 12 + b"data", b"data"])
def test_the_work_grows_no_faster_than_the_body(text: bytes) -> None:
    """Of a body that would take minutes if each of its strings were looked at with what comes before it."""
    strings = (b'"%b",' % text) * (8_000_000 // len(text))
    assert input_tokens_at_most(b'{"a":[%b""]}' % strings) >= len(strings) // 2


def test_what_is_said_far_from_its_data_does_not_count() -> None:
    data = base64.b64encode(bytes(300_000)).decode()
    far = {"type": "base64", "note": "x" * 300, "data": data}
    assert input_tokens_at_most(body(far)) >= len(data) // 2


def test_a_fair_guess_is_half_of_the_most() -> None:
    for length in range(200, 220):
        request = body() + b" " * length
        assert input_tokens_likely(input_tokens_at_most(request)) == len(request) // 4 + 1


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,DATA"}},
        {"type": "input_image", "image_url": "data:image/png;base64,DATA"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,DATA"}},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,DATA"},
    ],
)
@pytest.mark.parametrize("slash", [b"/", b"\\/"])
def test_what_a_data_url_holds_counts_by_its_size(part: dict[str, object], slash: bytes) -> None:
    data = base64.b64encode(bytes(range(256)) * 8_000)
    request = body(prose("look"), part).replace(b"DATA", data).replace(b"/", slash)
    assert 2_048_000 // 12 <= input_tokens_at_most(request) <= 2_048_000 // 12 + 12_000


def test_text_that_speaks_of_data_urls_counts_as_text() -> None:
    data = base64.b64encode(bytes(300_000)).decode()
    for text in (f"data:image/png;base64,{data}", f'{{"url":"data:image/png;base64,{data}"}}'):
        assert input_tokens_at_most(body(prose(text))) >= len(data) // 2
    written = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "and so on " * 40_000}}
    assert input_tokens_at_most(body(written)) >= 200_000
