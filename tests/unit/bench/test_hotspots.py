"""Unit tests of bench.hotspots: whose a sample is."""

import pytest

from bench.hotspots import ELSEWHERE, ROOMS, SCENES, THREADS, Threads, room, shares, table

OUTSIDE = "run (uvloop/__init__.py:92);run_asgi (uvicorn/protocols/http/httptools_impl.py:416)"


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ("Runner.run (asyncio/runners.py:118)", "event loop, sockets, tasks"),
        (OUTSIDE, "HTTP server: uvicorn, httptools, our limits"),
        (f"{OUTSIDE};__call__ (services/edge/relay.py:102)", "relay, in order"),
        (f"{OUTSIDE};__call__ (services/edge/relay.py:102);dumps (json/__init__.py:1)", "relay, in order"),
        (f"{OUTSIDE};ask (services/edge/admission.py:48)", "questions to auth and router, batched"),
        (f"{OUTSIDE};decoded (services/edge/dialects/asked.py:62)", "reading the request"),
        (f"{OUTSIDE};feed (services/edge/dialects/chat_to_messages.py:1)", "translation"),
        ("spam (somewhere/else.py:1)", ELSEWHERE),
    ],
)
def test_a_sample_is_of_its_innermost_room(frames: str, expected: str) -> None:
    assert room(frames.split(";")) == expected


def test_shares_are_of_all_threads_together() -> None:
    samples = iter(["a (grpc/aio/_call.py:1) 30", "b (services/edge/relay.py:1);c (nats/js.py:2) 10"])
    found = shares(samples, Threads(main=80, others=20))
    assert found == {
        "gRPC, its Python side": pytest.approx(0.6),
        "JetStream: nats-py": pytest.approx(0.2),
        THREADS: pytest.approx(0.2),
    }


def test_a_process_that_does_nothing_has_no_shares() -> None:
    with pytest.raises(SystemExit):
        shares(iter([]), Threads(0, 0))


def test_the_table_has_a_row_for_each_room_the_largest_of_the_first_scene_first() -> None:
    rows = list(table({"plain": {"relay, in order": 0.7, THREADS: 0.3}, "burst": {ELSEWHERE: 1.0}}))
    assert rows[0] == f"| % of its CPU | {SCENES['plain'].label} | {SCENES['burst'].label} |"
    assert rows[2:4] == ["| relay, in order | 70 | 0 |", f"| {THREADS} | 30 | 0 |"]
    assert len(rows) == 2 + len(ROOMS) + 2
