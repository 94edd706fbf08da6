"""Nothing that is secret, and nothing that anybody said, is written anywhere (invariant I6): distinct words are put
into prompts, answers, keys, credentials and voucher codes, and looked for wherever anything is written."""

import asyncio
import contextlib
import functools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest
from nats.aio.msg import Msg
from psycopg import sql

from services.embedded.nats import client_url
from tests.books import superuser_url
from tests.deployment import Answer, Deployment, Tenant, deployed, eventually, message, request
from tests.spans import Spans, received
from tollhouse.v1 import billing_pb2, router_pb2

PROMPT = "canary-prompt-7f3a"
ANSWER = "canary-answer-91cd"
FAULT = "canary-fault-44be"
CREDENTIAL = "sim-canary-credential-58aa"
MODEL, CHAT_MODEL = "canary-model", "canary-chat-model"
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


class Upstream(BaseHTTPRequestHandler):
    """Answers what a canary is in, in Anthropic's API and in OpenAI's; refuses a request that says so."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "fail" in json.dumps(asked):
            self.answer(500, "application/json", json.dumps({"error": {"type": FAULT, "message": FAULT}}))
        elif asked.get("stream"):
            events = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
            self.answer(200, "text/event-stream", events)
        elif self.path.endswith("/chat/completions"):
            choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
            said = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            self.answer(200, "application/json", json.dumps(said | {"usage": usage}))
        else:
            content = [{"type": "text", "text": ANSWER}]
            usage = {"input_tokens": 5, "output_tokens": 5}
            said = {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "usage": usage}
            self.answer(200, "application/json", json.dumps(said))

    def answer(self, status: int, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Overheard:
    """Every message that goes over NATS, in JetStream or not: subject, headers and payload."""

    def __init__(self, tollhouse: Deployment) -> None:
        address = json.loads((tollhouse.state_dir / "run.json").read_text())["addresses"]["nats"]
        password = json.loads((tollhouse.state_dir / "secrets.json").read_text())["nats"]
        self._url = client_url(int(address.rpartition(":")[2]), password)
        self.messages: list[bytes] = []
        self._listening, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()))

    def __enter__(self) -> "Overheard":
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _listen(self) -> None:
        nc = await nats.connect(self._url)

        async def heard(message: Msg) -> None:
            self.messages.append(f"{message.subject} {message.headers}".encode() + message.data)

        await nc.subscribe(">", cb=heard)
        await nc.flush()
        self._listening.set()
        while not self._stop.is_set():
            await asyncio.sleep(0.05)
        await nc.close()


def put(tollhouse: Deployment, url: str) -> None:
    """An account of either API at the upstream, each with the credential."""
    kinds = {MODEL: router_pb2.UPSTREAM_KIND_ANTHROPIC, CHAT_MODEL: router_pb2.UPSTREAM_KIND_OPENAI}
    for model, kind in kinds.items():
        account = router_pb2.UpstreamAccount(name=model, kind=kind, base_url=url, models={model: model}, enabled=True)
        asked = router_pb2.PutUpstreamAccountRequest(account=account, credential=CREDENTIAL)
        tollhouse.router.PutUpstreamAccount(asked)
        price = billing_pb2.Price(model=model, input_pico=3_000_000, output_pico=15_000_000)
        tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="test"))
    for model in kinds:
        eventually(functools.partial(knows, tollhouse, model))


def knows(tollhouse: Deployment, model: str) -> bool:
    return tollhouse.call("GET", f"/v1/models/{model}", {"x-api-key": tollhouse.key}).status == 200


def redeemed_voucher(tollhouse: Deployment, tenant: Tenant) -> str:
    """The code of a voucher that a tenant has redeemed."""
    made = tollhouse.billing.CreateVouchers(
        billing_pb2.CreateVouchersRequest(
            count=1,
            amount_nano=1_000_000_000,
            funding=billing_pb2.VOUCHER_FUNDING_SOLD,
            batch_id="canary",
            reason="test",
            actor="test",
        )
    )
    redeem = billing_pb2.RedeemVoucherRequest(tenant_id=tenant.tenant_id, code=made.codes[0], actor="test")
    tollhouse.billing.RedeemVoucher(redeem)
    return str(made.codes[0])


def asked(tollhouse: Deployment, key: str, path: str = "/v1/messages", prompt: str = "", **fields: Any) -> Answer:
    body = message(messages=[{"role": "user", "content": f"{PROMPT} {prompt}"}], **fields)
    headers = {"x-api-key": key, "content-type": "application/json"}
    return request(tollhouse.base_url, "POST", path, headers, json.dumps(body).encode())


def every_kind_of_request(tollhouse: Deployment, tenant: Tenant) -> None:
    """Plain, streamed, translated, refused, failing."""
    answers = [
        asked(tollhouse, tenant.key, model=MODEL),
        asked(tollhouse, tenant.key, model=MODEL, stream=True),
        asked(tollhouse, tenant.key, model=CHAT_MODEL),
        asked(tollhouse, tenant.key, "/v1/chat/completions", model=MODEL),
    ]
    assert all(ANSWER in answer.body.decode() for answer in answers)
    assert asked(tollhouse, tenant.key, model="no-such-model").status == 404
    assert asked(tollhouse, tenant.key, model=MODEL, max_tokens=PROMPT).status == 400
    assert asked(tollhouse, tenant.key, prompt="[[sim status=400; message=" + FAULT + "]]").status == 400
    assert asked(tollhouse, tenant.key + "x", model=MODEL).status == 401
    assert asked(tollhouse, tenant.key, prompt="fail", model=MODEL).status >= 500  # cools the account: last


def in_files(folder: Path, word: str) -> list[str]:
    """The files under a folder that hold a word, the database's own and what is meant to hold secrets left out."""
    kept_secrets = {"secrets.json", "master.key", "receipt.key", "demo.key", "usage.token", "operator.json", "run.json"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in kept_secrets]
    databases = folder / "postgres"
    return [str(path) for path in files if databases not in path.parents and word.encode() in path.read_bytes()]


def in_tables(url: str, word: str) -> list[str]:
    """The columns of every table of ours that hold a word, whatever their type."""
    found = []
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_catalog, table_schema, table_name)"
            " WHERE table_type = 'BASE TABLE' AND table_schema IN ('auth', 'router', 'ledger', 'console')"
        ).fetchall()
        assert len(columns) > 200
        for schema, table, column, kind in columns:
            as_text = sql.SQL("encode({}, 'escape')" if kind == "bytea" else "{}::text").format(sql.Identifier(column))
            query = sql.SQL("SELECT count(*) FROM {} WHERE strpos({}, %s) > 0").format(
                sql.Identifier(schema, table), as_text
            )
            row = connection.execute(query, (word,)).fetchone()
            if row is not None and row[0]:
                found.append(f"{schema}.{table}.{column}")
    return found


def scrapes(tollhouse: Deployment) -> str:
    processes = json.loads((tollhouse.state_dir / "run.json").read_text())["processes"]
    urls = [process["ops_url"] for process in processes if process["ops_url"]]
    return "".join(request(url, "GET", "/metrics").body.decode() for url in urls)


@pytest.fixture(scope="module")
def spans() -> Iterator[Spans]:
    with received() as receiving:
        yield receiving


def test_no_canary_is_written_anywhere(spans: Spans, tmp_path: Path) -> None:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
        "TOLLHOUSE_EDGE_TRACE_SHARE": "1",
        "TOLLHOUSE_EDGE_ATTEMPTS": "1",
    }
    with upstream() as url, deployed(tmp_path / "state", **settings) as tollhouse, Overheard(tollhouse) as overheard:
        tenant = tollhouse.tenant()
        put(tollhouse, url)
        voucher = redeemed_voucher(tollhouse, tenant)
        every_kind_of_request(tollhouse, tenant)
        eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 6, what="booked")
        key_body = tenant.key.rpartition("-")[2]
        canaries = [PROMPT, ANSWER, FAULT, CREDENTIAL, tenant.key, key_body, voucher]
        canaries.append(voucher.replace("-", ""))

        assert any(b"tollhouse.usage" in heard for heard in overheard.messages)
        journals = list((tollhouse.state_dir / "journal").rglob("*.journal"))
        assert any(tenant.tenant_id.encode() in path.read_bytes() for path in journals)
        assert in_tables(superuser_url(tollhouse), tenant.tenant_id)
        said = scrapes(tollhouse)
        for canary in canaries:
            assert not [heard for heard in overheard.messages if canary.encode() in heard]
            assert in_tables(superuser_url(tollhouse), canary) == []
            assert canary not in said
            assert in_files(tollhouse.state_dir, canary) == []
    # What is written last of all: spans, and logs of processes that end.
    assert len({span.service for span in spans.all}) == 4
    for canary in canaries:
        assert not [body for body in spans.bodies if canary.encode() in body]
        assert in_files(tmp_path / "state", canary) == []
    assert in_files(tmp_path / "state" / "log", tenant.tenant_id), "the logs are where they are looked for"
