"""The provider: routes, credentials, and which answer a request gets."""

import asyncio
import itertools
import os
from typing import Final
from urllib.parse import parse_qs, unquote

import msgspec

from services.shared import clock
from services.simulator import messages
from services.simulator.connection import Connection, Request
from services.simulator.reply import Reply, silence
from services.simulator.script import NO_SCRIPT, STATUSES, Script, ScriptError, parse
from services.simulator.served import Book, Served, credential, sha256
from services.simulator.settings import SimulatorSettings

_BAD_CREDENTIALS: Final = {
    "": (401, "x-api-key header is required"),
    "sim-bad": (401, "invalid x-api-key"),
    "sim-denied": (403, "Your API key does not have permission to use the specified resource"),
}
_UNKNOWN_MODEL: Final = "unknown-upstream-model"
_BEHAVIOUR: Final = "/__behaviour/"
_LISTED: Final = 100
_NAMES_MAX: Final = 10_000
_JSON: Final = ("content-type", "application/json")


class Provider:
    """Its settings, its books, how it treats which credential, and what scripts with `times` have used up."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._book = Book(settings.remember)
        self._seen: dict[str, int] = {}
        self._behaviours: dict[str, Script] = {}
        # Ids of different runs differ: a database may remember those of an earlier one.
        self._ids = (f"{os.urandom(6).hex()}{number:012d}" for number in itertools.count(1))

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answers one request."""
        path, _, query = request.target.partition("?")
        if request.method == "POST" and path == "/v1/messages":
            await self._messages(request, connection)
        else:
            behaviour = path.startswith(_BEHAVIOUR)
            status, body = self._behave(request, path) if behaviour else self._other(request.method, path, query)
            connection.head(status, [_JSON], len(body))
            connection.write(body)

    def _other(self, method: str, path: str, query: str) -> tuple[int, bytes]:
        if path == "/" and method in ("GET", "HEAD"):
            return 200, b'{"name":"simulator"}'
        if path == "/__served" and method == "GET":
            return 200, msgspec.json.encode(self._book.totals())
        if path == "/__served" and method == "DELETE":
            self._book.reset()
            self._seen.clear()
            return 200, b"{}"
        if path == "/__served/requests" and method == "GET":
            last = parse_qs(query).get("last", [str(_LISTED)])[0]
            return 200, msgspec.json.encode({"requests": self._book.last(int(last) if last.isdecimal() else _LISTED)})
        return 404, messages.error(STATUSES[404], f"there is no {method} {path}", "")

    def _behave(self, request: Request, path: str) -> tuple[int, bytes]:
        """PUT: requests with that credential follow the script in the body from now on. DELETE: no longer."""
        sent = unquote(path[len(_BEHAVIOUR) :])
        if request.method == "DELETE":
            self._behaviours.pop(sent, None)
            return 200, b"{}"
        if request.method != "PUT" or not sent:
            return 404, messages.error(STATUSES[404], f"there is no {request.method} {_BEHAVIOUR}", "")
        try:
            script = parse(request.body.decode(), "")
        except (ScriptError, UnicodeDecodeError) as fault:
            return 400, messages.error(STATUSES[400], str(fault), "")
        if sent not in self._behaviours and len(self._behaviours) >= _NAMES_MAX:
            return 400, messages.error(STATUSES[400], f"there are {_NAMES_MAX} behaviours already", "")
        self._behaviours[sent] = script
        return 200, b"{}"

    async def _messages(self, request: Request, connection: Connection) -> None:
        unique = next(self._ids)
        served = Served(request.target, request.headers, sha256(request.body), f"req_{unique}", f"msg_{unique}")
        served.credential = _credential(request)
        self._book.begin(served)
        try:
            await self._answer(request, connection, served)
        except asyncio.CancelledError:
            served.aborted = True
            raise
        finally:
            self._book.end(served)

    async def _answer(self, request: Request, connection: Connection, served: Served) -> None:
        refused = _BAD_CREDENTIALS.get(served.credential)
        if request.too_large:
            refused = 413, "Request exceeds the maximum size"
        if refused is None:
            try:
                asked = messages.read(request.body)
                script = parse(request.header("x-simulator"), asked.prompt)
            except (messages.Invalid, ScriptError) as fault:
                refused = 400, str(fault)
        if refused is not None:
            await _refuse(Reply(connection, served, NO_SCRIPT), served, *refused)
            return
        await self._scripted(asked, self._chosen(script, served.credential), connection, served)

    async def _scripted(self, asked: messages.Request, script: Script, connection: Connection, served: Served) -> None:
        reply, counts = Reply(connection, served, script), messages.plan(asked, script)
        first_ms = self._settings.first_ms if script.first_ms is None else script.first_ms
        if first_ms:
            await asyncio.sleep(first_ms / clock.MS_PER_S)
        if script.hang == "before":
            await silence()
        if script.cut_after == -1:
            connection.cut()
        elif script.status is not None:
            await _refuse(reply, served, script.status, script.message)
        elif (refusal := messages.refusal(asked, script)) is not None:
            await _refuse(reply, served, 400, refusal)
        elif asked.model == _UNKNOWN_MODEL:
            await _refuse(reply, served, 404, f"model: {asked.model}")
        elif asked.stream:
            gap_ms = self._settings.gap_ms if script.gap_ms is None else script.gap_ms
            await reply.stream(messages.events(asked, script, counts, served.message_id), counts, gap_ms)
        else:
            await reply.plain(200, messages.answer(asked, script, counts, served.message_id), counts)

    def _chosen(self, script: Script, sent: str) -> Script:
        """The request's own script, else its credential's behaviour."""
        if script is not NO_SCRIPT and self._applies(script, sent):
            return script
        behaviour = self._behaviours.get(sent, NO_SCRIPT)
        return behaviour if self._applies(behaviour, sent) else NO_SCRIPT

    def _applies(self, script: Script, sent: str) -> bool:
        """Whether a script is for this request."""
        if script.only_credential and script.only_credential != sent:
            return False
        if not script.id:
            return True
        seen = self._seen[script.id] = self._seen.get(script.id, 0) + 1
        if len(self._seen) > _NAMES_MAX:
            del self._seen[next(iter(self._seen))]
        return seen <= script.times


def _credential(request: Request) -> str:
    """The x-api-key, else the bearer token; empty without either."""
    authorization = request.header("authorization")
    bearer = authorization if authorization[:7].lower() == "bearer " else ""
    return credential(request.header("x-api-key") or bearer)


async def _refuse(reply: Reply, served: Served, status: int, message: str) -> None:
    await reply.plain(status, messages.error(STATUSES[status], message, served.request_id), messages.Counts())
