"""Unit tests of services.edge.metering."""

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.metering import StreamMeter, of_answer
from services.shared.pricing import Tokens

GUESSED_INPUT = 101


def event(name: str, **fields: object) -> bytes:
    data = json.dumps({"type": name, **fields}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode()


def start(**usage: object) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": usage}
    return event("message_start", message=message)


def text(piece: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})


def tool_input(piece: str) -> bytes:
    return event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": piece})


def end(**usage: object) -> bytes:
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage) + event("message_stop")


START = start(
    input_tokens=25,
    cache_creation_input_tokens=700,
    cache_read_input_tokens=3000,
    cache_creation={"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 200},
    output_tokens=1,
)
PIECES = [
    START,
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("ping"),
    text("Line\u2028separator, next\u0085line, \r\n and a tab\t"),
    text('data: {"type":"message_delta","usage":{"output_tokens":666}}\n\n'),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "tool_use", "name": "bill", "input": {}}),
    tool_input('{"usage": {"output_tokens": 777},'),
    tool_input(' "type":"message_delta"}'),
    event("content_block_stop", index=1),
    end(input_tokens=27, output_tokens=42),
]
GOLDEN = b"".join(PIECES)
GOLDEN_TOKENS = Tokens(input=27, output=42, cache_read=3000, cache_write_5m=400 + 100, cache_write_1h=200)
CRLF = GOLDEN.replace(b"\n", b"\r\n")
CUT = b"".join(PIECES[:8])
REFUSED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def metered(*chunks: bytes) -> tuple[Tokens, bool]:
    meter = StreamMeter()
    for chunk in chunks:
        meter.feed(chunk)
    return meter.result(GUESSED_INPUT)


def splits(stream: bytes) -> Iterator[list[bytes]]:
    """The stream whole, cut once at every place, and in pieces of every small size."""
    yield [stream]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]
    for size in range(1, 40):
        yield [stream[at : at + size] for at in range(0, len(stream), size)]


# ---- whole streams ----


@pytest.mark.parametrize("stream", [GOLDEN, CRLF], ids=["LF", "CRLF"])
def test_a_stream_is_metered_the_same_however_it_is_cut_into_chunks(stream: bytes) -> None:
    for chunks in splits(stream):
        assert metered(*chunks) == (GOLDEN_TOKENS, False)


@given(st.lists(st.integers(1, len(GOLDEN) - 1), max_size=30))
def test_a_stream_is_metered_the_same_however_often_it_is_cut(cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(GOLDEN)]
    assert metered(*[GOLDEN[a:b] for a, b in pairwise(marks)]) == (GOLDEN_TOKENS, False)


def test_an_event_goes_without_its_last_line_end_only_if_that_never_comes() -> None:
    stream = (START + end(output_tokens=42)).removesuffix(event("message_stop"))
    assert metered(stream.rstrip(b"\n"))[1] is True
    assert metered(stream.rstrip(b"\n"), b"\n") == metered(stream)
    assert metered(stream)[1] is False


def test_what_a_later_event_leaves_out_stays_as_it_was_said_before() -> None:
    tokens, estimated = metered(
        start(input_tokens=25, cache_read_input_tokens=8, output_tokens=1), end(output_tokens=5)
    )
    assert (tokens, estimated) == (Tokens(input=25, output=5, cache_read=8), False)


def test_a_later_event_may_correct_downwards() -> None:
    tokens, _ = metered(start(input_tokens=25, output_tokens=10), end(input_tokens=20, output_tokens=3))
    assert tokens == Tokens(input=20, output=3)


def test_several_corrections_replace_each_other() -> None:
    first = event("message_delta", delta={}, usage={"output_tokens": 5})
    assert metered(start(input_tokens=1), first, end(output_tokens=9))[0] == Tokens(input=1, output=9)


def test_nothing_is_read_from_events_of_other_types() -> None:
    strange = event("content_block_delta", usage={"output_tokens": 999}, delta={"type": "text_delta", "text": "x"})
    assert metered(START, strange, end(output_tokens=7))[0].output == 7


def test_a_line_too_long_to_hold_usage_is_passed_over() -> None:
    long = text("x" * 300_000)
    stream = START + long + end(output_tokens=42)
    for size in (10_000, 65_536, len(stream)):
        tokens, estimated = metered(*[stream[at : at + size] for at in range(0, len(stream), size)])
        assert (tokens.output, estimated) == (42, False)


def test_data_may_follow_its_colon_without_a_blank() -> None:
    stream = (START + end(output_tokens=42)).replace(b"data: ", b"data:")
    assert metered(stream)[0].output == 42


# ---- cache writes ----


@pytest.mark.parametrize(
    ("usage", "five_minutes", "one_hour"),
    [
        ({"cache_creation_input_tokens": 100}, 100, 0),
        ({"cache_creation_input_tokens": 100, "cache_creation": None}, 100, 0),
        ({"cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 100}}, 0, 100),
        ({"cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_5m_input_tokens": 100}}, 100, 0),
        ({"cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 30}}, 70, 30),
        (
            {
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
            },
            20 + 50,
            30,
        ),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}}, 20, 30),
        (
            {
                "cache_creation_input_tokens": 10,
                "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
            },
            20,
            30,
        ),
    ],
)
def test_cache_writes_are_split_by_how_long_they_last_and_the_rest_is_for_five_minutes(
    usage: dict[str, object], five_minutes: int, one_hour: int
) -> None:
    expected = Tokens(input=3, output=4, cache_write_5m=five_minutes, cache_write_1h=one_hour)
    assert metered(start(input_tokens=3, output_tokens=1, **usage) + end(output_tokens=4)) == (expected, False)
    assert of_answer(json.dumps({"usage": {"input_tokens": 3, "output_tokens": 4, **usage}}).encode(), 0) == (
        expected,
        False,
    )


# ---- streams that were cut ----


def test_a_stream_that_was_cut_charges_the_input_it_said_and_the_output_that_came() -> None:
    stream = START + b"".join(text("word") for _ in range(50))
    tokens, estimated = metered(stream)
    assert estimated
    assert tokens.output == 50
    assert (tokens.input, tokens.cache_read) == (25, 3000)


def test_long_deltas_of_a_cut_stream_count_by_their_length() -> None:
    tokens, estimated = metered(START + text("x" * 4_000))
    assert estimated
    assert 950 <= tokens.output <= 1_050


def test_output_in_an_event_that_was_cut_counts_as_well() -> None:
    tokens, estimated = metered(START + text("x" * 4_000)[:-400])
    assert estimated
    assert 850 <= tokens.output <= 950


@pytest.mark.parametrize("stream", [CUT, CUT.replace(b"\n", b"\r\n"), CUT[:-25]], ids=["LF", "CRLF", "in an event"])
def test_the_estimate_of_a_cut_stream_does_not_depend_on_its_chunks(stream: bytes) -> None:
    whole = metered(stream)
    assert whole[1] is True
    assert whole[0].output >= 3
    for chunks in splits(stream):
        assert metered(*chunks) == whole


def test_what_stands_before_the_first_delta_is_no_output() -> None:
    preamble = START + event("ping") * 20
    assert metered(preamble + text("hi"))[0].output == 1


def test_a_cut_stream_never_charges_less_than_the_upstream_said() -> None:
    assert metered(start(input_tokens=5, output_tokens=17) + text("hi"))[0] == Tokens(input=5, output=17)


def test_a_stream_cut_before_any_usage_guesses_the_input_from_the_body() -> None:
    assert metered(event("ping")) == (Tokens(input=GUESSED_INPUT), True)
    assert metered(text("hi")) == (Tokens(input=GUESSED_INPUT, output=1), True)


def test_an_error_after_output_is_a_cut_stream() -> None:
    tokens, estimated = metered(START, text("hi"), REFUSED)
    assert estimated
    assert tokens.input == 25


@pytest.mark.parametrize("stream", [REFUSED, REFUSED.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
def test_a_stream_that_is_only_an_error_charges_nothing(stream: bytes) -> None:
    for chunks in splits(stream):
        assert metered(*chunks) == (Tokens(), False)


def test_a_stream_without_a_byte_charges_nothing() -> None:
    assert metered() == (Tokens(), False)
    assert metered(b"") == (Tokens(), False)


def test_a_result_may_be_asked_for_twice() -> None:
    meter = StreamMeter()
    meter.feed(CUT[:-25])
    assert meter.result(GUESSED_INPUT) == meter.result(GUESSED_INPUT)


def test_a_meter_knows_whether_usage_was_said_to_its_end_and_whether_the_end_was_an_error() -> None:
    for chunks in splits(START + text("hi") + REFUSED):
        meter = StreamMeter()
        for chunk in chunks:
            meter.feed(chunk)
        assert (meter.complete, meter.ended_with_error) == (False, True)
    for chunks in splits(GOLDEN):
        meter = StreamMeter()
        for chunk in chunks:
            meter.feed(chunk)
        assert (meter.complete, meter.ended_with_error) == (True, False)


# ---- garbage ----

USAGE_GARBAGE = [
    b'data: {"type":"\xff","usage":{}}\n',
    b'data: {"usage":' + b"[" * 100_000 + b"\n",
    b'data: {"x":' + b"[" * 100_000 + b'"usage"\n',
    b'data: {"type":"message_delta","usage":{"output_tokens":1e30}}\n',
    b'data: {"type":"message_delta","usage":{"output_tokens":"7"}}\n',
    b'data: {"type":"message_delta","usage":[]}\n',
    b'data: {"type":"message_delta","usage":null}\n',
    b'data: {"type":7,"usage":{}}\n',
    b'data: "usage"\n',
    b'data: {"usage"\n',
    b'"usage"\n',
    b'event: "usage"\n',
    b'data: {"type":"message_delta","usage":{"output_tokens":%d}}\n' % 2**64,
    b'data: {"type":"message_delta","usage":{"output_tokens":%d}}\n' % (2**40 + 1),
]


@pytest.mark.parametrize("line", USAGE_GARBAGE, ids=range(len(USAGE_GARBAGE)))
def test_a_line_that_is_no_usage_is_passed_over(line: bytes) -> None:
    assert metered(line) == (Tokens(input=GUESSED_INPUT), True)
    assert metered(START, line, end(output_tokens=42))[0].output == 42


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([*USAGE_GARBAGE[3:], *PIECES])), max_size=8))
def test_no_bytes_make_a_meter_raise_and_all_it_counts_can_be_booked(chunks: list[bytes]) -> None:
    tokens, _ = metered(*chunks)
    assert all(0 <= count <= 2**41 for count in (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write_5m))


@given(st.binary(max_size=300))
def test_no_bytes_make_a_plain_answer_raise(answer: bytes) -> None:
    of_answer(answer, GUESSED_INPUT)


def test_counts_below_zero_count_as_none() -> None:
    assert metered(start(input_tokens=-5) + end(output_tokens=-1)) == (Tokens(), False)


# ---- plain answers ----


def test_a_plain_answer_says_its_usage() -> None:
    usage = {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 30, "service_tier": "standard"}
    answer = {"id": "msg_1", "content": [{"type": "text", "text": '"usage":{"output_tokens":666}'}], "usage": usage}
    assert of_answer(json.dumps(answer).encode(), GUESSED_INPUT) == (Tokens(input=10, output=20, cache_read=30), False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"id":"x"}',
        b'{"usage":null}',
        b'{"usage":{"input_tokens":"many"}}',
        b'{"usage":{"output_tokens":%d}}' % 2**64,
        b'{"x":' + b"[" * 100_000,
    ],
    ids=range(8),
)
def test_a_plain_answer_without_usage_is_estimated(answer: bytes) -> None:
    assert of_answer(answer, GUESSED_INPUT) == (Tokens(input=GUESSED_INPUT, output=len(answer) // 4), True)


ITERATIONS = [
    {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
    {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
]


def test_what_making_the_conversation_shorter_took_is_charged_beside_the_usage_that_leaves_it_out() -> None:
    usage = {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": ITERATIONS}
    tokens = Tokens(input=203_000, output=4_500)
    assert of_answer(json.dumps({"usage": usage}).encode(), GUESSED_INPUT) == (tokens, False)
    stream = start(input_tokens=23_000, output_tokens=1) + text("hi") + end(output_tokens=1_000, iterations=ITERATIONS)
    assert metered(stream) == (tokens, False)


@pytest.mark.parametrize(
    "iterations", ["compaction", [{"type": "compaction", "input_tokens": "many"}], {"compaction": 1}]
)
def test_iterations_that_cannot_be_read_spoil_no_usage(iterations: object) -> None:
    usage = {"input_tokens": 10, "output_tokens": 20, "iterations": iterations}
    assert of_answer(json.dumps({"usage": usage}).encode(), GUESSED_INPUT) == (Tokens(input=10, output=20), False)


def test_a_line_that_comes_in_many_pieces_takes_time_in_proportion_to_its_length() -> None:
    meter = StreamMeter()
    for _ in range(200_000):
        meter.feed(b"x")
    assert meter.size_bytes == 200_000


def test_content_in_a_line_too_long_to_be_kept_is_counted_when_the_stream_is_cut() -> None:
    meter = StreamMeter()
    meter.feed(START + text("x"))
    long = text("x" * 600_000)[:-2]
    for at in range(0, len(long), 50_000):
        meter.feed(long[at : at + 50_000])
    assert meter.result(GUESSED_INPUT)[0].output > 140_000
