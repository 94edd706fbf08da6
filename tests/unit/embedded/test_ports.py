"""Unit tests of services.embedded.ports."""

import socket

from services.embedded import ports


def test_free_ports_are_distinct_and_can_be_listened_on() -> None:
    found = ports.free(20)
    assert len(set(found)) == 20
    for port in found:
        assert ports.fault("127.0.0.1", port) is None


def test_a_port_that_is_taken_already_is_not_handed_out() -> None:
    first = ports.free(1)
    assert first[0] not in ports.free(50, taken=first)


def test_a_shared_port_is_in_use_all_the_same() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert ports.fault("127.0.0.1", port) == "something else listens there"
        assert ports.fault("0.0.0.0", port) == "something else listens there"
    assert ports.fault("127.0.0.1", port) is None


def test_a_host_that_is_not_ours_is_said_to_be_so() -> None:
    assert ports.fault("192.0.2.1", 8080) == "Cannot assign requested address"
