"""Stand-ins for payment providers: they answer and sign as the real ones document, and move when a test says so."""

import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Webhook = tuple[dict[str, str], bytes]
"""The headers and the body that a provider sends."""

STRIPE_KEY, STRIPE_SECRET = "sk_test_stand_in", "whsec_stand_in"
IPN_KEY, IPN_SECRET = "now-key", "now-ipn-secret"
IPN_ACCOUNT = ("shop@tests.example", "the shop's password")
BTCPAY_STORE, BTCPAY_KEY, BTCPAY_SECRET = "StoreOfTests", "btcpay-key", "btcpay-webhook-secret"


@dataclass
class StandIn:
    """What all have in common: where they listen, and whether they are away."""

    url: str = ""
    away: bool = False
    calls: list[str] = field(default_factory=list)
    serial: int = 0

    def number(self) -> int:
        self.serial += 1
        return self.serial

    def routes(self) -> list[Route]:
        raise NotImplementedError


@dataclass
class Stripe(StandIn):
    """Checkout Sessions, their PaymentIntents and charges, disputes."""

    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_idempotency_key: dict[str, str] = field(default_factory=dict)
    disputes: list[dict[str, Any]] = field(default_factory=list)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/checkout/sessions", self._create, methods=["POST"]),
            Route("/v1/checkout/sessions/{id}", self._get),
            Route("/v1/disputes", self._disputes),
        ]

    async def _create(self, request: Request) -> Response:
        form = await request.form()
        if request.headers["authorization"] != f"Bearer {STRIPE_KEY}":
            return JSONResponse({"error": {"type": "invalid_request_error"}}, 401)
        key = request.headers["idempotency-key"]
        if key not in self.by_idempotency_key:
            assert form["mode"] == "payment"
            assert form["line_items[0][quantity]"] == "1"
            session = {
                "id": f"cs_test_{self.number()}",
                "object": "checkout.session",
                "client_reference_id": form["client_reference_id"],
                "metadata": {"payment": form["metadata[payment]"]},
                "amount_total": int(str(form["line_items[0][price_data][unit_amount]"])),
                "currency": form["line_items[0][price_data][currency]"],
                "status": "open",
                "payment_status": "unpaid",
                "payment_intent": None,
                "success_url": form["success_url"],
                "url": f"{self.url}/pay/{self.serial}",
            }
            assert form["payment_intent_data[metadata][payment]"] == form["client_reference_id"]
            self.sessions[str(session["id"])] = session
            self.by_idempotency_key[key] = str(session["id"])
        return JSONResponse(self.sessions[self.by_idempotency_key[key]])

    async def _get(self, request: Request) -> Response:
        session = self.sessions[request.path_params["id"]]
        assert "payment_intent.latest_charge" in request.query_params.values()
        return JSONResponse(session)

    async def _disputes(self, request: Request) -> Response:
        found = [one for one in self.disputes if one["charge"] == request.query_params["charge"]]
        return JSONResponse({"object": "list", "data": found, "has_more": False, "url": "/v1/disputes"})

    # ---- what people do ----

    def of(self, payment_id: str) -> dict[str, Any]:
        return next(one for one in self.sessions.values() if one["client_reference_id"] == payment_id)

    def complete(self, payment_id: str, *, paid: bool = True) -> Webhook:
        session = self.of(payment_id)
        charge = {"id": f"ch_{self.number()}", "amount_refunded": 0, "disputed": False, "metadata": session["metadata"]}
        status = "succeeded" if paid else "processing"
        intent = {"id": f"pi_{self.serial}", "object": "payment_intent", "status": status, "latest_charge": charge}
        session |= {"status": "complete", "payment_status": "paid" if paid else "unpaid", "payment_intent": intent}
        return self.event("checkout.session.completed", self._plain(session))

    def arrived(self, payment_id: str, *, paid: bool) -> Webhook:
        """A delayed method ends."""
        session = self.of(payment_id)
        session["payment_status"] = "paid" if paid else "unpaid"
        session["payment_intent"]["status"] = "succeeded" if paid else "requires_payment_method"
        name = "succeeded" if paid else "failed"
        return self.event(f"checkout.session.async_payment_{name}", self._plain(session))

    def expire(self, payment_id: str) -> Webhook:
        session = self.of(payment_id)
        session["status"] = "expired"
        return self.event("checkout.session.expired", self._plain(session))

    def refund(self, payment_id: str, cents: int) -> Webhook:
        charge = self._charge(payment_id)
        charge["amount_refunded"] += cents
        return self.event("charge.refunded", self._charge_said(payment_id))

    def dispute(self, payment_id: str, status: str) -> Webhook:
        session, charge = self.of(payment_id), self._charge(payment_id)
        known = next((one for one in self.disputes if one["charge"] == charge["id"]), None)
        if known is None:
            known = {"id": f"dp_{self.number()}", "object": "dispute", "charge": charge["id"], "metadata": {}}
            known |= {"amount": session["amount_total"], "payment_intent": session["payment_intent"]["id"]}
            self.disputes.append(known)
        charge["disputed"] = True
        known["status"] = status
        return self.event(f"charge.dispute.{'closed' if status in ('won', 'lost') else 'created'}", dict(known))

    def _charge(self, payment_id: str) -> dict[str, Any]:
        charge: dict[str, Any] = self.of(payment_id)["payment_intent"]["latest_charge"]
        return charge

    def _charge_said(self, payment_id: str) -> dict[str, Any]:
        return {
            **self._charge(payment_id),
            "object": "charge",
            "payment_intent": self.of(payment_id)["payment_intent"]["id"],
        }

    def _plain(self, session: dict[str, Any]) -> dict[str, Any]:
        """As webhooks show it: what is expanded elsewhere is an id."""
        intent = session["payment_intent"]
        return {**session, "payment_intent": intent["id"] if intent else None}

    def event(self, kind: str, said: dict[str, Any], secret: str = STRIPE_SECRET, age_s: int = 0) -> Webhook:
        event = {"id": f"evt_{self.number()}", "object": "event", "type": kind, "data": {"object": said}}
        body = json.dumps(event | {"api_version": "2026-09-30", "created": int(time.time())}).encode()
        at = int(time.time()) - age_s
        signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return {"stripe-signature": f"t={at},v1={signed}", "content-type": "application/json"}, body


@dataclass
class NowPayments(StandIn):
    """Invoices, the tries to pay them, and their list for whoever signs in."""

    invoices: dict[str, dict[str, Any]] = field(default_factory=dict)
    tries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/invoice", self._create, methods=["POST"]),
            Route("/v1/auth", self._auth, methods=["POST"]),
            Route("/v1/payment/", self._list),
            Route("/v1/payment/{id}", self._get),
        ]

    async def _create(self, request: Request) -> Response:
        if request.headers["x-api-key"] != IPN_KEY:
            return JSONResponse({"message": "Invalid api key"}, 403)
        said = await request.json()
        assert said["price_currency"] == "usd"
        number = str(5_000_000_000 + self.number())
        self.invoices[number] = said | {"id": number, "invoice_url": f"{self.url}/payment/?iid={number}"}
        return JSONResponse(self.invoices[number])

    async def _auth(self, request: Request) -> Response:
        said = await request.json()
        good = (said["email"], said["password"]) == IPN_ACCOUNT
        return JSONResponse({"token": "a-token"} if good else {}, 200 if good else 403)

    async def _list(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer a-token":
            return JSONResponse({"message": "Authorization required"}, 401)
        wanted = request.query_params["invoiceId"]
        found = [one for one in self.tries.values() if str(one["invoice_id"]) == wanted]
        return JSONResponse({"data": found, "limit": 100, "page": 0, "total": len(found)})

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self.tries[request.path_params["id"]])

    def pay(self, payment_id: str, status: str, share: float = 1, number: str = "") -> Webhook:
        """A try to pay with USDT: `share` of it came."""
        invoice = next(one for one in self.invoices.values() if one["order_id"] == payment_id)
        number = number or str(6_000_000_000 + self.number())
        price = invoice["price_amount"]
        self.tries[number] = {
            "payment_id": int(number),
            "invoice_id": int(invoice["id"]),
            "payment_status": status,
            "pay_address": "TNDzfERDpxLDS2w1q6yaFC7pzqaSQ3Bg3r",
            "price_amount": price,
            "price_currency": "usd",
            "pay_amount": price * 1.000125,
            "actually_paid": price * 1.000125 * share,
            "pay_currency": "usdttrc20",
            "order_id": payment_id,
            "order_description": "Credit — größer",
            "fee": {"withdrawalFee": 0, "depositFee": 9e-7, "currency": "btc"},
            "outcome_amount": 1e-7,
        }
        return self.notification(self.tries[number])

    def notification(self, said: dict[str, Any], secret: str = IPN_SECRET) -> Webhook:
        """As Node writes and signs it: exponents have no zeros in front there."""

        def text(value: dict[str, Any], *, sort: bool) -> str:
            written = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort)
            return written.replace("e-0", "e-")

        signed = hmac.new(secret.encode(), text(said, sort=True).encode(), hashlib.sha512).hexdigest()
        return {"x-nowpayments-sig": signed, "content-type": "application/json"}, text(said, sort=False).encode()


@dataclass
class BtcPay(StandIn):
    """Invoices of one store."""

    invoices: dict[str, dict[str, Any]] = field(default_factory=dict)
    paid: dict[str, float] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        base = f"/api/v1/stores/{BTCPAY_STORE}/invoices"
        return [
            Route(base, self._create, methods=["POST"]),
            Route(base + "/{id}", self._get),
            Route(base + "/{id}/payment-methods", self._methods),
        ]

    async def _create(self, request: Request) -> Response:
        if request.headers["authorization"] != f"token {BTCPAY_KEY}":
            return JSONResponse({}, 401)
        said = await request.json()
        number = f"Invoice{self.number()}"
        self.invoices[number] = {
            "id": number,
            "storeId": BTCPAY_STORE,
            "status": "New",
            "additionalStatus": "None",
            "amount": said["amount"],
            "currency": said["currency"],
            "metadata": said["metadata"],
            "checkoutLink": f"{self.url}/i/{number}",
        }
        return JSONResponse(self.invoices[number])

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self.invoices[request.path_params["id"]])

    async def _methods(self, request: Request) -> Response:
        number = request.path_params["id"]
        dollars = float(self.invoices[number]["amount"]) * self.paid.get(number, 0)
        bitcoin = {"currency": "BTC", "rate": "50000.0", "paymentMethodPaid": f"{dollars / 50_000:.8f}"}
        return JSONResponse([bitcoin, {"currency": "ETH", "rate": "2500.0", "paymentMethodPaid": "0"}])

    def becomes(self, payment_id: str, status: str, additional: str = "None", share: float = 1) -> Webhook:
        """The invoice takes a status; `share` of it came."""
        invoice = next(one for one in self.invoices.values() if one["metadata"]["orderId"] == payment_id)
        invoice |= {"status": status, "additionalStatus": additional}
        self.paid[invoice["id"]] = share
        return self.event(f"Invoice{status}", invoice["id"])

    def event(self, kind: str, invoice_id: str, secret: str = BTCPAY_SECRET, store: str = BTCPAY_STORE) -> Webhook:
        said = {"deliveryId": f"d{self.number()}", "webhookId": "w1", "isRedelivery": False, "type": kind}
        body = json.dumps(said | {"storeId": store, "invoiceId": invoice_id, "timestamp": int(time.time())}).encode()
        signed = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return {"btcpay-sig": f"sha256={signed}", "content-type": "application/json"}, body


@contextlib.contextmanager
def listening(stand_in: StandIn) -> Iterator[None]:
    """Serves a stand-in on a free port until the block ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            stand_in.calls.append(f"{scope['method']} {scope['path']}")
            if stand_in.away:
                await JSONResponse({}, 503)(scope, receive, send)
                return
        await routes(scope, receive, send)

    routes = Starlette(routes=stand_in.routes())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the stand-in did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        stand_in.url = f"http://127.0.0.1:{port}"
        yield
    finally:
        server.should_exit = True
        thread.join()
