"""Unit tests of services.edge.records."""

from hypothesis import given
from hypothesis import strategies as st

from services.edge.records import ENDED, HEAD_BYTES, MAGIC, PROGRESS, Record, decode, encode

RECORDS = st.lists(
    st.builds(
        Record,
        st.sampled_from([PROGRESS, ENDED]),
        st.text("abcdef0123_:", min_size=1, max_size=40),
        st.binary(max_size=200),
    ),
    max_size=10,
)


def segment_of(records: list[Record], room: int = 64) -> bytes:
    return MAGIC + b"".join(encode(*record) for record in records) + bytes(room)


@given(RECORDS)
def test_what_was_written_is_read(records: list[Record]) -> None:
    assert list(decode(segment_of(records))) == records


@given(RECORDS, st.data())
def test_a_torn_end_loses_only_the_torn_record(records: list[Record], data: st.DataObject) -> None:
    whole = segment_of(records, room=0)
    kept = data.draw(st.integers(len(MAGIC), len(whole)))
    read = list(decode(whole[:kept] + bytes(len(whole) - kept)))
    ends = [len(segment_of(records[:count], room=0)) for count in range(len(records) + 1)]
    # A record whose torn part was zeros anyway is whole.
    assert read == records[: len(read)]
    assert len(read) >= sum(end <= kept for end in ends) - 1


@given(RECORDS.filter(bool), st.data())
def test_no_changed_bit_ever_gives_a_record_that_was_not_written(records: list[Record], data: st.DataObject) -> None:
    whole = bytearray(segment_of(records))
    at = data.draw(st.integers(len(MAGIC), len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    read = list(decode(bytes(whole)))
    assert read == records[: len(read)]


def test_a_file_of_another_form_is_not_read() -> None:
    assert list(decode(b"")) == []
    assert list(decode(b"NOTOURS!" + encode(ENDED, "req_1", b"x"))) == []


def test_a_record_costs_its_head_and_no_more() -> None:
    assert len(encode(ENDED, "req_1", b"abc")) == HEAD_BYTES + 5 + 3
