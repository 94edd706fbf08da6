"""Reads usage of Tollhouse over gRPC, as an internal service would.

    export TOLLHOUSE_USAGE_GRPC=127.0.0.1:7003 TOLLHOUSE_USAGE_TOKEN=thst_...
    python examples/usage_client.py balance demo
    python examples/usage_client.py list demo --limit 5
    python examples/usage_client.py summary demo --by hour
    python examples/usage_client.py watch --token-file watch.token

Where services speak TLS, a certificate of the house, `spiffe://tollhouse/internal`, and its key come first:

    python examples/usage_client.py --ca ca.crt --certificate tls.crt --key tls.key balance demo

It needs grpcio and protobuf, and `tollhouse.v1` (the folder proto/gen) on the path. Every call has a deadline. A watch
writes its resume token to a file after it has dealt with what came, so that it goes on there when it is started again:
each attempt is dealt with once, or a second time if the power goes out in between.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc

from tollhouse.v1 import events_pb2, usage_pb2, usage_pb2_grpc

DEADLINE_S: Final = 5.0
WATCH_S: Final = 3600.0
"""A watch ends by its deadline too, and is begun again: connections should not live for ever."""

SILENCE_S: Final = 30.0
"""Heartbeats come every 10 s, so a connection that is silent for longer is dead."""

SERVER: Final = "ledger.tollhouse.internal"
"""The name on the ledger's certificate, whatever address it is reached at."""

PAUSE_S: Final = 1.0
GOES_BY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
PERIODS: Final = {"hour": usage_pb2.USAGE_PERIOD_HOUR, "day": usage_pb2.USAGE_PERIOD_DAY}


class UsageClient:
    """Tollhouse's UsageService at `address` (host:port), called with a service token; over TLS with credentials."""

    def __init__(self, address: str, token: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        options: list[tuple[str, int | str]] = [
            ("grpc.keepalive_time_ms", int(SILENCE_S * 1000)),
            ("grpc.keepalive_timeout_ms", 5000),
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            options += [("grpc.ssl_target_name_override", SERVER)]
            self._channel = grpc.secure_channel(address, credentials, options=options)
        self._stub = usage_pb2_grpc.UsageServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    def balance(self, tenant_id: str) -> usage_pb2.GetBalanceResponse:
        """What a tenant has, in nano-dollars. Raises grpc.RpcError, as all calls do."""
        request = usage_pb2.GetBalanceRequest(tenant_id=tenant_id)
        return self._stub.GetBalance(request, metadata=self._metadata, timeout=DEADLINE_S)

    def list(self, tenant_id: str, limit: int) -> Iterator[usage_pb2.Usage]:
        """A tenant's newest requests, page by page."""
        request = usage_pb2.ListUsageRequest(tenant_id=tenant_id)
        while limit > 0:
            request.page_size = min(limit, 1000)
            page = self._stub.ListUsage(request, metadata=self._metadata, timeout=DEADLINE_S)
            yield from page.usages
            limit -= len(page.usages)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def summary(self, tenant_id: str, by: str) -> usage_pb2.SummarizeUsageResponse:
        """A tenant's sums of the last day's hours or the last month's days, by model."""
        request = usage_pb2.SummarizeUsageRequest(
            tenant_id=tenant_id, period=PERIODS[by], groups=[usage_pb2.USAGE_GROUP_MODEL]
        )
        return self._stub.SummarizeUsage(request, metadata=self._metadata, timeout=DEADLINE_S)

    def watch(self, tenant_id: str, resume_token: str) -> Iterator[usage_pb2.WatchUsageResponse]:
        """What is booked, without end, behind the resume token; from the beginning when it is empty. Connects again
        after whatever goes by, and goes on where it was."""
        while True:
            request = usage_pb2.WatchUsageRequest(
                tenant_id=tenant_id, resume_token=resume_token, start=usage_pb2.WATCH_START_BEGINNING
            )
            try:
                for message in self._stub.WatchUsage(request, metadata=self._metadata, timeout=WATCH_S):
                    yield message
                    resume_token = message.resume_token
            except grpc.RpcError as error:
                if error.code() not in GOES_BY:
                    raise
                print(f"the watch ended ({error.code().name}); it goes on", file=sys.stderr)
            time.sleep(PAUSE_S)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


def dollars(nano: int) -> str:
    """Nano-dollars for people, exactly: money is never a float."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    return f"{sign}${nano // 10**9}.{nano % 10**9:09d}"


def watch(client: UsageClient, tenant_id: str, token_file: Path, count: int) -> None:
    """Prints attempts as they are booked; ends after `count` of them, never when that is 0."""
    resume_token = token_file.read_text(encoding="ascii").strip() if token_file.exists() else ""
    seen = 0
    for message in client.watch(tenant_id, resume_token):
        for attempt in message.attempts:
            status = events_pb2.UsageStatus.Name(attempt.status).removeprefix("USAGE_STATUS_").lower()
            print(
                f"{attempt.request_id}:{attempt.attempt}",
                attempt.tenant_id,
                status,
                dollars(attempt.cost_nano),
                flush=True,
            )
        draft = token_file.with_name(token_file.name + ".new")
        draft.write_text(message.resume_token, encoding="ascii")
        draft.replace(token_file)  # at once: a reader sees the old token or the new
        seen += len(message.attempts)
        if 0 < count <= seen:
            return


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description="Reads usage of Tollhouse over gRPC.")
    top.add_argument("--ca", type=Path, help="PEM file of the authority that the ledger's certificate is of")
    top.add_argument("--certificate", type=Path, help="PEM file of the certificate to show to the ledger")
    top.add_argument("--key", type=Path, help="PEM file of its key")
    sub = top.add_subparsers(dest="command", required=True)
    sub.add_parser("balance").add_argument("tenant")
    listing = sub.add_parser("list")
    listing.add_argument("tenant")
    listing.add_argument("--limit", type=int, default=20)
    summary = sub.add_parser("summary")
    summary.add_argument("tenant")
    summary.add_argument("--by", choices=list(PERIODS), default="day")
    watching = sub.add_parser("watch")
    watching.add_argument("tenant", nargs="?", default="", help="all that the token may read without")
    watching.add_argument("--token-file", type=Path, default=Path("watch.token"))
    watching.add_argument("--count", type=int, default=0, help="end after so many attempts (default: never)")
    return top


def credentials(arguments: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """What the command line says of TLS; None when it says nothing. Raises OSError, ValueError."""
    files = (arguments.ca, arguments.key, arguments.certificate)
    if not any(files):
        return None
    if not all(files):
        raise ValueError("--ca, --certificate and --key go together")
    return grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))


def run(client: UsageClient, arguments: argparse.Namespace) -> None:
    """Does what the command line says."""
    if arguments.command == "balance":
        balance = client.balance(arguments.tenant)
        print(dollars(balance.balance_nano), "held", dollars(balance.held_nano))
    elif arguments.command == "list":
        for usage in client.list(arguments.tenant, arguments.limit):
            print(usage.request_id, usage.model, usage.tokens.input, usage.tokens.output, dollars(usage.cost_nano))
    elif arguments.command == "summary":
        for bucket in client.summary(arguments.tenant, arguments.by).buckets:
            print(bucket.start_ms, bucket.model, bucket.requests, dollars(bucket.cost_nano))
    else:
        watch(client, arguments.tenant, arguments.token_file, arguments.count)


def main() -> int:
    """Runs the command; answers the exit code."""
    arguments = parser().parse_args()
    try:
        tls = credentials(arguments)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    client = UsageClient(os.environ["TOLLHOUSE_USAGE_GRPC"], os.environ["TOLLHOUSE_USAGE_TOKEN"], tls)
    try:
        run(client, arguments)
    except grpc.RpcError as error:
        print(f"{error.code().name.lower()}: {error.details()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
