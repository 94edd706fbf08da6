"""Unit tests of services.shared.connections: who is let in."""

from services.shared.connections import Gate, Limits


def test_those_behind_a_trusted_proxy_share_its_address() -> None:
    gate = Gate(Limits(connections=6, connections_per_address=2, trusted=lambda address: address == "10.0.0.1"))
    assert [gate.enter("10.0.0.1") for _ in range(3)] == [0, 0, 0]
    assert [gate.enter("192.0.2.1") for _ in range(3)] == [0, 0, 429]
    assert [gate.enter("192.0.2.2") for _ in range(2)] == [0, 503]
    gate.leave("192.0.2.1")
    assert gate.enter("192.0.2.2") == 0
