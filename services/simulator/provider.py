"""The provider: routes, credentials, and which answer a request gets."""

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, unquote

import msgspec

from services.shared import clock
from services.simulator import messages, models
from services.simulator.apis import MODEL_LISTS, ROUTES, AnthropicErrors, Api, OpenAIErrors
from services.simulator.asked import Asked, Invalid
from services.simulator.connection import Connection, Request
from services.simulator.reply import Reply, silence
from services.simulator.said import Said
from services.simulator.script import NO_SCRIPT, STATUSES, Script, ScriptError, parse
from services.simulator.served import Book, Served, sha256
from services.simulator.settings import SimulatorSettings
from services.simulator.tokens import Counts

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
        self._answered: dict[tuple[str, str], frozenset[str]] = {}
        # Ids of different runs differ: a database may remember those of an earlier one.
        self._ids = (f"{os.urandom(6).hex()}{number:012d}" for number in itertools.count(1))

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answers one request."""
        path, _, query = request.target.partition("?")
        api = ROUTES.get(path) if request.method == "POST" else None
        if api is not None:
            await self._call(api, request, connection)
            return
        if path.startswith(_BEHAVIOUR):
            status, body = self._behave(request, path)
        elif path.startswith(MODEL_LISTS) and request.method == "GET":
            status, body = _models(request, path)
        else:
            status, body = self._other(request.method, path, query)
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

    async def _call(self, api: Api, request: Request, connection: Connection) -> None:
        unique = next(self._ids)
        answer_id = api.answer_prefix + unique
        served = Served(request.target, request.headers, sha256(request.body), f"req_{unique}", answer_id)
        served.credential = api.credential(request)
        self._book.begin(served)
        try:
            await self._answer(api, request, connection, served)
        except asyncio.CancelledError:
            served.aborted = True
            raise
        finally:
            self._book.end(served)

    async def _answer(self, api: Api, request: Request, connection: Connection, served: Served) -> None:
        fault: Invalid | None = None
        refused = api.refused(served.credential)
        if request.too_large:
            refused = 413, "Request exceeds the maximum size"
        if refused is None:
            try:
                asked = api.read(request, lambda id_: self._answered.get((served.credential, id_)))
                script = parse(request.header("x-simulator"), asked.prompt)
            except Invalid as found:
                refused, fault = (found.status, str(found)), found
            except ScriptError as found:
                refused = 400, str(found)
        if refused is not None:
            await _Exchange(api, connection, served, NO_SCRIPT).refuse(*refused, fault)
            return
        exchange = _Exchange(api, connection, served, self._chosen(script, served.credential))
        await exchange.run(asked, self._settings, self._remember)

    def _remember(self, served: Served, calls: frozenset[str]) -> None:
        """An answer that later requests may build upon."""
        self._answered[served.credential, served.message_id] = calls
        if len(self._answered) > _NAMES_MAX:
            del self._answered[next(iter(self._answered))]

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


class _Exchange:
    """One request that was read, and its answer."""

    def __init__(self, api: Api, connection: Connection, served: Served, script: Script) -> None:
        self._api = api
        self._connection = connection
        self._served = served
        self._script = script
        self._reply = Reply(connection, served, script, lambda now_s: api.headers(served.request_id, script, now_s))

    async def refuse(self, status: int, message: str, fault: Invalid | None = None) -> None:
        """Answers with an error."""
        body = self._api.error(status, message, self._served.request_id, fault)
        await self._reply.plain(status, body, Counts())

    async def run(
        self, asked: Asked, settings: SimulatorSettings, remember: Callable[[Served, frozenset[str]], None]
    ) -> None:
        """Answers as the script says."""
        script = self._script
        first_ms = settings.first_ms if script.first_ms is None else script.first_ms
        if first_ms:
            await asyncio.sleep(first_ms / clock.MS_PER_S)
        if script.hang == "before":
            await silence()
        if script.cut_after == -1:
            self._connection.cut()
        elif script.status is not None:
            await self.refuse(script.status, script.message)
        elif (refusal := self._api.refusal(asked, script)) is not None:
            await self.refuse(refusal.status, str(refusal), refusal)
        elif asked.model == _UNKNOWN_MODEL:
            await self.refuse(404, self._api.unknown_model(asked.model))
        else:
            await self._say(asked, self._api.plan(asked, script), settings, remember)

    async def _say(
        self,
        asked: Asked,
        said: Said,
        settings: SimulatorSettings,
        remember: Callable[[Served, frozenset[str]], None],
    ) -> None:
        api, served, script = self._api, self._served, self._script
        calls = api.calls(asked, said, served.message_id)
        if calls is not None:
            remember(served, calls)
        now_s = clock.now_ms() // clock.MS_PER_S
        if asked.stream:
            gap_ms = settings.gap_ms if script.gap_ms is None else script.gap_ms
            events = api.events(asked, said, script, served.message_id, now_s)
            await self._reply.stream(events, said.used, gap_ms)
        else:
            await self._reply.plain(200, api.answer(asked, said, served.message_id, now_s), said.used)


def _models(request: Request, path: str) -> tuple[int, bytes]:
    """The list of models, or one of them, in the shape of the API whose headers the request has."""
    anthropic = bool(request.header("anthropic-version"))
    errors: AnthropicErrors | OpenAIErrors = AnthropicErrors() if anthropic else OpenAIErrors()
    refused = errors.refused(errors.credential(request))
    if refused is not None:
        return refused[0], errors.error(*refused, "")
    name = path.partition("/models")[2].removeprefix("/")
    body = models.one(unquote(name), anthropic=anthropic) if name else models.listed(anthropic=anthropic)
    return (404, errors.error(404, errors.unknown_model(name), "")) if body is None else (200, body)
