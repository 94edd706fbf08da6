"""Who may call what between services: the names on certificates, and the closed table of methods.

A peer is known by the one URI on its certificate, `spiffe://tollhouse/edge`: a SPIFFE ID, whose trust domain is
`tollhouse` (https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/). A method that is not in the table may be called by
nobody; a test holds the table against every rpc of `proto/`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from services.shared.errors import Kind, Refusal

_TRUST_DOMAIN: Final = "spiffe://tollhouse/"


class Peer(StrEnum):
    """Who may be at the other end of a connection."""

    EDGE = "edge"
    AUTH = "auth"
    ROUTER = "router"
    LEDGER = "ledger"
    CONSOLE = "console"
    OPERATOR = "operator"
    """The command line, and `up` when it puts the demo data there."""
    INTERNAL = "internal"
    """Services of the house that ask about usage."""

    @property
    def uri(self) -> str:
        """What stands on its certificate."""
        return f"{_TRUST_DOMAIN}{self.value}"

    @property
    def host(self) -> str:
        """The name that clients demand on a server's certificate, whatever address they reach it at: pods come and go,
        and a replica announces an address. `.internal` is nobody's on the Internet
        (https://www.icann.org/en/board-activities-and-meetings/materials/approved-resolutions-special-meeting-of-the-icann-board-29-07-2024-en)."""
        return f"{self.value}.tollhouse.internal"


_BY_NAME: Final[Mapping[str, Peer]] = {peer.value: peer for peer in Peer}
_BY_URI: Final[Mapping[str, Peer]] = {peer.uri: peer for peer in Peer}


def peer_named(name: str) -> Peer | None:
    """The peer of this name, such as `edge`; None when there is none."""
    return _BY_NAME.get(name)


def permit(method: str, uri: str) -> None:
    """Raises Refusal unless whoever has `uri` on its certificate may call `method`, such as
    `/tollhouse.v1.AuthService/Decide`."""
    if _BY_URI.get(uri) not in TABLE.get(method, ()):
        who = uri or "a certificate without a SPIFFE ID"
        raise Refusal(Kind.CALLER_FORBIDDEN, f"{who} may not call {method}")


def _rows(service: str, peers: frozenset[Peer], methods: Iterable[str]) -> dict[str, frozenset[Peer]]:
    return {f"/tollhouse.v1.{service}/{method}": peers for method in methods}


_EDGE: Final = frozenset({Peer.EDGE})
_AUTH: Final = frozenset({Peer.AUTH})
_MANAGEMENT: Final = frozenset({Peer.CONSOLE, Peer.OPERATOR})
_READERS: Final = frozenset({Peer.INTERNAL, Peer.CONSOLE, Peer.OPERATOR})

TABLE: Final[Mapping[str, frozenset[Peer]]] = {
    **_rows("AuthService", _EDGE, ("Decide", "DecideStream", "RecoverEdge", "GetCredit")),
    **_rows("AuthService", _EDGE | _MANAGEMENT, ("GetKey", "ListBrands")),
    **_rows(
        "AuthService",
        _MANAGEMENT,
        (
            *("CreateTenant", "GetTenant", "ListTenants", "SetTenantEnabled", "SetTenantPolicy"),
            *("CreateKey", "ListKeys", "UpdateKey", "RevealKey", "DeleteKey"),
            *("SetKeyEnabled", "SetKeySpendCap", "SetKeyAccess", "SetKeyPolicy"),
            *("PutPlan", "ListPlans", "DeletePlan", "PutBrand", "DeleteBrand"),
        ),
    ),
    **_rows("RouterService", _EDGE, ("Decide", "DecideStream")),
    **_rows("RouterService", _EDGE | _MANAGEMENT, ("GetRoutes",)),
    **_rows(
        "RouterService",
        _MANAGEMENT,
        (
            *("ListModels", "PutModel", "ExplainRoute"),
            *("PutPool", "ListPools", "DeletePool", "PutGroup", "ListGroups", "DeleteGroup"),
            *("PutUpstreamAccount", "ListUpstreamAccounts", "DeleteUpstreamAccount", "TestUpstreamAccount"),
            *("SetUpstreamCredential", "SetUpstreamAccountEnabled", "ClearUpstreamAccount"),
        ),
    ),
    **_rows("RouterService", frozenset({Peer.OPERATOR}), ("ResealCredentials",)),
    **_rows("LedgerService", _AUTH, ("RaiseGrant", "RenewGrants", "LowerGrant", "AbandonGrants", "BookOrphans")),
    **_rows(
        "LedgerService",
        _MANAGEMENT,
        ("VerifyBooks", "GetReconciliation", "ListReplicas", "ListDeadLetters", "ReplayDeadLetters"),
    ),
    **_rows("BillingService", _AUTH | _MANAGEMENT, ("ListPrices",)),
    **_rows("BillingService", frozenset({Peer.CONSOLE}), ("RecordDeed",)),
    **_rows(
        "BillingService",
        _MANAGEMENT,
        (
            *("TopUp", "Adjust", "ListTransactions", "ListBalances", "ListAudit"),
            *("SetPrice", "GetPrice", "ApplyPrices", "ExportPrices"),
            *("CreateVouchers", "ListVoucherBatches", "ListVouchers", "VoidVouchers", "RedeemVoucher"),
        ),
    ),
    **_rows("TokenService", _MANAGEMENT, ("CreateToken", "ListTokens", "RevokeToken")),
    **_rows(
        "UsageService",
        _EDGE | _READERS,
        ("GetUsage", "ListUsage", "SummarizeUsage", "GetBalance", "GetKeySpend", "GetReceipt", "GetReceiptKeys"),
    ),
    **_rows("UsageService", _READERS, ("BatchGetUsage", "WatchUsage")),
}
"""The peers that may call each method. Whoever may call has its token looked at as well, where the ledger asks for one
(`services.ledger.tokens`)."""
