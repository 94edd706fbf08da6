"""Unit tests of services.shared.permissions."""

import pytest
from google.protobuf.descriptor import FileDescriptor

from services.shared.errors import Kind, Refusal
from services.shared.permissions import TABLE, Peer, peer_named, permit
from tollhouse.v1 import (
    auth_pb2,
    billing_pb2,
    events_pb2,
    ledger_pb2,
    router_pb2,
    tokens_pb2,
    types_pb2,
    usage_pb2,
)

FILES: list[FileDescriptor] = [
    module.DESCRIPTOR
    for module in (auth_pb2, billing_pb2, events_pb2, ledger_pb2, router_pb2, tokens_pb2, types_pb2, usage_pb2)
]
RPCS = {
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
}
PRICE_CHANGES = "/tollhouse.v1.BillingService/SetPrice"


def test_every_rpc_has_a_row_and_every_row_an_rpc() -> None:
    assert set(TABLE) == RPCS
    assert all(TABLE.values())


@pytest.mark.parametrize("peer", [Peer.ROUTER, Peer.LEDGER])
def test_who_calls_nobody_may_call_nobody(peer: Peer) -> None:
    assert not [method for method, peers in TABLE.items() if peer in peers]


def test_only_the_edge_decides_and_only_auth_takes_credit() -> None:
    for method in ("Decide", "DecideStream"):
        assert TABLE[f"/tollhouse.v1.AuthService/{method}"] == {Peer.EDGE}
        assert TABLE[f"/tollhouse.v1.RouterService/{method}"] == {Peer.EDGE}
    assert TABLE["/tollhouse.v1.LedgerService/RaiseGrant"] == {Peer.AUTH}


def test_services_of_the_house_read_usage_and_nothing_else() -> None:
    allowed = {method for method, peers in TABLE.items() if Peer.INTERNAL in peers}
    assert allowed == {method for method in RPCS if method.startswith("/tollhouse.v1.UsageService/")}


def test_whom_the_table_names_passes() -> None:
    permit(PRICE_CHANGES, Peer.CONSOLE.uri)


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://tollhouse/edge",
        "spiffe://tollhouse/console/",
        "spiffe://tollhouse/Console",
        "spiffe://tollhouse/console/replica",
        "spiffe://elsewhere/console",
        "https://tollhouse/console",
        "console",
    ],
)
def test_everybody_else_is_refused_by_name(uri: str) -> None:
    with pytest.raises(Refusal) as caught:
        permit(PRICE_CHANGES, uri)
    assert caught.value.kind is Kind.CALLER_FORBIDDEN
    assert caught.value.message == f"{uri} may not call {PRICE_CHANGES}"


def test_a_certificate_without_a_name_is_refused_as_such() -> None:
    with pytest.raises(Refusal, match="a certificate without a SPIFFE ID may not call"):
        permit(PRICE_CHANGES, "")


@pytest.mark.parametrize("peer", Peer)
def test_a_method_without_a_row_is_nobodys(peer: Peer) -> None:
    with pytest.raises(Refusal):
        permit("/tollhouse.v1.AuthService/Forgotten", peer.uri)


def test_peers_are_known_by_name() -> None:
    assert peer_named("edge") is Peer.EDGE
    assert peer_named("simulator") is None
