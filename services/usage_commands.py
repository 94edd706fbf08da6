"""Operator commands that read usage: `tollhouse usage|token|receipt`."""

import argparse
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from services.commands import TIMEOUT_S, CommandFailed, Services, add_action, table, when
from services.ledger.receipts import Forged, keys_of, verify
from services.shared import clock
from services.shared.money import dollars
from tollhouse.v1 import events_pb2, tokens_pb2, usage_pb2

_MAX_KEYS_BYTES: Final = 1 << 20
_SCOPES: Final = {"usage": tokens_pb2.TOKEN_SCOPE_USAGE, "internal": tokens_pb2.TOKEN_SCOPE_INTERNAL}
_SCOPE_NAMES: Final = {number: name for name, number in _SCOPES.items()}
_PERIODS: Final = {"hour": usage_pb2.USAGE_PERIOD_HOUR, "day": usage_pb2.USAGE_PERIOD_DAY}
_GROUPS: Final = {
    "tenant": usage_pb2.USAGE_GROUP_TENANT,
    "key": usage_pb2.USAGE_GROUP_KEY,
    "model": usage_pb2.USAGE_GROUP_MODEL,
    "account": usage_pb2.USAGE_GROUP_UPSTREAM_ACCOUNT,
}
_STATUSES: Final = {
    name.removeprefix("USAGE_STATUS_").lower(): number for name, number in events_pb2.UsageStatus.items() if number
}


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line."""

    def group(name: str, text: str) -> Any:
        return sub.add_parser(name, help=text).add_subparsers(required=True, metavar="ACTION")

    def action(
        parent: Any, name: str, text: str, run: Callable[[Services, argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        return add_action(parent, name, text, run, state_dir)

    usage = group("usage", "look at usage and balances")
    action(usage, "get", "what one request used", _usage_get).add_argument("request_id")
    command = action(usage, "list", "a tenant's latest requests", _usage_list)
    command.add_argument("tenant")
    command.add_argument("--limit", type=int, default=20)
    command.add_argument("--key-id", default="")
    command.add_argument("--model", default="")
    command.add_argument("--status", choices=list(_STATUSES))
    command = action(usage, "summary", "sums of hours or days", _usage_summary)
    command.add_argument("tenant", nargs="?", default="", help="all tenants without")
    command.add_argument("--by", choices=list(_PERIODS), default="day")
    command.add_argument("--group", nargs="+", choices=list(_GROUPS), default=[])
    command.add_argument("--from", dest="from_ms", type=_unix_ms, default=0, help="such as 2026-01-31, UTC")
    command.add_argument("--to", dest="to_ms", type=_unix_ms, default=0, help="default: now")
    action(usage, "balance", "what a tenant has", _usage_balance).add_argument("tenant")

    token = group("token", "make, list and revoke service tokens")
    command = action(token, "add", "make a service token and print it, this once", _token_add)
    command.add_argument("--name", required=True, help="for people, at most 50 characters")
    command.add_argument("--scope", choices=list(_SCOPES), default="usage", help="default: %(default)s")
    command.add_argument("--tenant", default="", help="the tenant whose usage it reads (default: all tenants)")
    command.add_argument("--days", type=int, default=0, help="how long it lives (default: for ever)")
    action(token, "list", "list service tokens", _token_list)
    action(token, "revoke", "revoke a service token for good", _token_revoke).add_argument("token_id")

    receipt = group("receipt", "fetch and check receipts")
    action(receipt, "get", "print one request's receipt", _receipt_get).add_argument("request_id")
    command = action(receipt, "verify", "check a receipt's signature and print what it says", _receipt_verify)
    command.add_argument("file", type=Path, help="file that holds the receipt")
    source = command.add_mutually_exclusive_group()
    source.add_argument("--keys", type=Path, help="file that holds the public keys: nothing is asked of anybody")
    source.add_argument("--url", help="where the public keys are, or the gateway's address (default: ask the ledger)")
    command.add_argument("--request", type=Path, help="file that holds the request's body, to compare its digest")
    command.add_argument("--response", type=Path, help="file that holds the answer's body, to compare its digest")


def _unix_ms(text: str) -> int:
    """Without an offset it is UTC, as the hours and days of summaries are. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * clock.MS_PER_S)


def _usage_rows(usages: Sequence[usage_pb2.Usage]) -> None:
    table(
        ("REQUEST", "WHEN", "MODEL", "STATUS", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "COST"),
        [
            (
                u.request_id,
                when(u.created_ms),
                u.model,
                events_pb2.UsageStatus.Name(u.status).removeprefix("USAGE_STATUS_").lower()
                + (" (estimated)" if u.estimated else ""),
                u.tokens.input,
                u.tokens.output,
                u.tokens.cache_read,
                u.tokens.cache_write_5m + u.tokens.cache_write_1h,
                dollars(u.cost_nano),
            )
            for u in usages
        ],
    )


def _usage_get(services: Services, arguments: argparse.Namespace) -> None:
    request = usage_pb2.GetUsageRequest(request_id=arguments.request_id, wait_ms=2000)
    _usage_rows([services.usage.GetUsage(request, timeout=TIMEOUT_S).usage])


def _usage_list(services: Services, arguments: argparse.Namespace) -> None:
    request = usage_pb2.ListUsageRequest(
        tenant_id=arguments.tenant,
        page_size=arguments.limit,
        key_id=arguments.key_id,
        model=arguments.model,
        status=_STATUSES[arguments.status] if arguments.status else events_pb2.USAGE_STATUS_UNSPECIFIED,
    )
    _usage_rows(services.usage.ListUsage(request, timeout=TIMEOUT_S).usages)


def _usage_summary(services: Services, arguments: argparse.Namespace) -> None:
    request = usage_pb2.SummarizeUsageRequest(
        tenant_id=arguments.tenant,
        period=_PERIODS[arguments.by],
        groups=[_GROUPS[name] for name in arguments.group],
        from_ms=arguments.from_ms,
        to_ms=arguments.to_ms,
    )
    columns = {"tenant": "tenant_id", "key": "key_id", "model": "model", "account": "upstream_account_id"}
    names = [name for name in columns if name in arguments.group]
    table(
        ("FROM", *map(str.upper, names), "REQUESTS", "INPUT", "OUTPUT", "COST", "UPSTREAM'S", "MARGIN"),
        [
            (
                when(bucket.start_ms),
                *(getattr(bucket, columns[name]) for name in names),
                bucket.requests,
                bucket.tokens.input
                + bucket.tokens.cache_read
                + bucket.tokens.cache_write_5m
                + bucket.tokens.cache_write_1h,
                bucket.tokens.output,
                dollars(bucket.cost_nano),
                dollars(bucket.upstream_cost_nano),
                dollars(bucket.margin_nano),
            )
            for bucket in services.usage.SummarizeUsage(request, timeout=TIMEOUT_S).buckets
        ],
    )


def _usage_balance(services: Services, arguments: argparse.Namespace) -> None:
    balance = services.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=arguments.tenant), timeout=TIMEOUT_S)
    print(
        f"{dollars(balance.balance_nano)}, of which {dollars(balance.granted_nano)} is set aside for requests"
        f" and {dollars(balance.held_nano)} held for those under way; {dollars(balance.available_nano)} is available"
    )


def _token_add(services: Services, arguments: argparse.Namespace) -> None:
    expires_ms = clock.now_ms() + arguments.days * 86_400 * clock.MS_PER_S if arguments.days else 0
    request = tokens_pb2.CreateTokenRequest(
        name=arguments.name, scope=_SCOPES[arguments.scope], tenant_id=arguments.tenant, expires_ms=expires_ms
    )
    print(services.tokens.CreateToken(request, timeout=TIMEOUT_S).secret)


def _token_list(services: Services, arguments: argparse.Namespace) -> None:
    tokens = services.tokens.ListTokens(tokens_pb2.ListTokensRequest(), timeout=TIMEOUT_S).tokens
    table(
        ("TOKEN", "NAME", "SCOPE", "TENANT", "SINCE", "UNTIL", "REVOKED", "LAST USED"),
        [
            (
                t.token_id,
                t.name,
                _SCOPE_NAMES[t.scope],
                t.tenant_id or "all",
                when(t.created_ms),
                when(t.expires_ms),
                when(t.revoked_ms),
                t.last_used_on or "-",
            )
            for t in tokens
        ],
    )


def _token_revoke(services: Services, arguments: argparse.Namespace) -> None:
    request = tokens_pb2.RevokeTokenRequest(token_id=arguments.token_id)
    token = services.tokens.RevokeToken(request, timeout=TIMEOUT_S).token
    print(f"{token.token_id} ({token.name}) is revoked")


def _receipt_get(services: Services, arguments: argparse.Namespace) -> None:
    request = usage_pb2.GetReceiptRequest(request_id=arguments.request_id, wait_ms=2000)
    print(services.usage.GetReceipt(request, timeout=TIMEOUT_S).receipt)


def _receipt_verify(services: Services, arguments: argparse.Namespace) -> None:
    receipt = arguments.file.read_text(encoding="ascii", errors="replace").strip()
    try:
        said = verify(receipt, _public_keys(services, arguments))
    except Forged as error:
        raise CommandFailed(f"{arguments.file} is not genuine: {error}") from None
    print(json.dumps(said, indent=2))
    for name, file in (("request_sha256", arguments.request), ("response_sha256", arguments.response)):
        if file is not None:
            _compare(said, name, file)
    print("The signature is good.")


def _public_keys(services: Services, arguments: argparse.Namespace) -> dict[str, bytes]:
    if arguments.keys is not None:
        text = arguments.keys.read_bytes()
    elif arguments.url is not None:
        text = _fetch(arguments.url)
    else:
        listed = services.usage.GetReceiptKeys(usage_pb2.GetReceiptKeysRequest(), timeout=TIMEOUT_S)
        return {key.kid: key.public_key for key in listed.keys}
    source = arguments.keys or arguments.url
    try:
        return keys_of(json.loads(text))
    except ValueError as error:
        raise CommandFailed(f"{source}: {error}") from None


def _fetch(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise CommandFailed(f"{url} is not an http or https URL")
    if not url.endswith(".json"):
        url = url.rstrip("/") + "/.well-known/tollhouse-receipt-keys.json"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310
            body: bytes = response.read(_MAX_KEYS_BYTES)
            return body
    except (urllib.error.URLError, TimeoutError) as error:
        raise CommandFailed(f"{url} cannot be fetched: {error}") from None


def _compare(said: dict[str, Any], name: str, file: Path) -> None:
    if name not in said:
        raise CommandFailed(f"the receipt has no {name} to compare {file} with")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != said[name]:
        raise CommandFailed(f"{file} is not what was signed: its SHA-256 is {digest}, the receipt's {name} another")
    print(f"{file} has the {name} that was signed.")
