"""The form of a key: what a person may say of one, as fields of text, and as the key that auth keeps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.console.forms import Form
from services.shared import clock
from services.shared.money import NANO_PER_DOLLAR, dollars, nano_from_dollars
from tollhouse.v1 import auth_pb2, types_pb2

NAME_MOST: Final = 50
LIMITS: Final = {
    "limit_requests": types_pb2.LIMIT_METRIC_REQUESTS,
    "limit_tokens": types_pb2.LIMIT_METRIC_TOKENS,
    "limit_input_tokens": types_pb2.LIMIT_METRIC_INPUT_TOKENS,
    "limit_output_tokens": types_pb2.LIMIT_METRIC_OUTPUT_TOKENS,
    "limit_concurrent": types_pb2.LIMIT_METRIC_CONCURRENT,
}
"""A field for each limit that is of all models together. Limits of single models are an operator's to set, and stay."""
FIELDS: Final = ("name", "expires", "spend_cap", "group", "plan", "models", "addresses", *LIMITS)
"""Every field; of `models` there is one for each model."""

_MINUTE: Final = "%Y-%m-%dT%H:%M"
LIMIT_MOST: Final = 10**12
_CAP_MOST_NANO: Final = 10_000_000 * NANO_PER_DOLLAR
_OF_AUTH: Final = {"expires_ms": "expires", "spend_cap_nano": "spend_cap"}


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person may give a key: groups, plans, and the models that those groups serve."""

    groups: Sequence[str]
    plans: Sequence[str]
    models: Sequence[str]

    def with_those_of(self, key: auth_pb2.Key) -> "Choices":
        """And what the key has already, which an operator may have given it."""
        return Choices(_with(self.groups, key.group), _with(self.plans, key.plan), sorted({*self.models, *key.models}))


def shown(key: auth_pb2.Key) -> Form:
    """The form as it is filled in for a key that exists."""
    said = {
        "name": key.name,
        "expires": minute(key.expires_ms) if key.expires_ms else "",
        "spend_cap": dollars(key.spend_cap_nano).removeprefix("$") if key.HasField("spend_cap_nano") else "",
        "group": key.group,
        "plan": key.plan,
        "models": "\n".join(key.models),
        "addresses": "\n".join(key.addresses),
    }
    of_all = {limit.metric: str(limit.amount) for limit in key.limits if not limit.model}
    return Form(said | {name: of_all.get(metric, "") for name, metric in LIMITS.items()})


def key_of(form: Form, present: auth_pb2.Key, choices: Choices, now_ms: int) -> auth_pb2.Key:
    """What the form asks for: the key as it is at present with every field replaced. Notes in the form what cannot be
    so."""
    key = auth_pb2.Key()
    key.CopyFrom(present)
    key.name = form["name"].strip()
    if not key.name or len(key.name) > NAME_MOST or not key.name.isprintable():
        form.wrong("name", f"A name of at most {NAME_MOST} characters is needed.")
    key.expires_ms = _expiry(form, present.expires_ms, now_ms)
    key.ClearField("spend_cap_nano")
    if form["spend_cap"].strip():
        key.spend_cap_nano = _cap(form)
    key.group, key.plan = form["group"] or present.group or "default", form["plan"]
    if key.group not in choices.groups:
        form.wrong("group", "Choose one of these.")
    if key.plan and key.plan not in choices.plans:
        form.wrong("plan", "Choose one of these.")
    del key.models[:], key.addresses[:], key.limits[:]
    key.models.extend(form["models"].split("\n") if form["models"] else [])
    if not {*key.models} <= {*choices.models}:
        form.wrong("models", "Choose from these.")
    key.addresses.extend(line.strip() for line in form["addresses"].replace(",", "\n").splitlines() if line.strip())
    key.limits.extend(limit for limit in present.limits if limit.model)
    for name, metric in LIMITS.items():
        if (amount := _amount(form, name)) is not None:
            key.limits.add(metric=metric, amount=amount)
    return key


def creation(key: auth_pb2.Key, tenant_id: str, brand: str, idempotency_key: str) -> auth_pb2.CreateKeyRequest:
    """What auth is asked for to make this key, once for its idempotency key."""
    asked = auth_pb2.CreateKeyRequest(
        tenant_id=tenant_id,
        name=key.name,
        expires_ms=key.expires_ms,
        idempotency_key=idempotency_key,
        group=key.group,
        plan=key.plan,
        brand=brand,
        models=key.models,
        addresses=key.addresses,
        limits=key.limits,
    )
    if key.HasField("spend_cap_nano"):
        asked.spend_cap_nano = key.spend_cap_nano
    return asked


def field_of(param: str) -> str:
    """The field that a refusal of auth means by its `param`; empty for the whole form."""
    name = _OF_AUTH.get(param, param)
    return name if name in FIELDS else ""


def listed(names: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


def minute(at_ms: int) -> str:
    """A moment as `<input type="datetime-local">` has it, in UTC."""
    return datetime.fromtimestamp(at_ms // clock.MS_PER_S, UTC).strftime(_MINUTE)


def _expiry(form: Form, present_ms: int, now_ms: int) -> int:
    """Unix milliseconds; 0 for never. One that was not touched keeps its seconds, and may be over."""
    typed = form["expires"].strip()
    if not typed or (present_ms and typed == minute(present_ms)):
        return present_ms if typed else 0
    try:
        at = datetime.strptime(typed[: len("2026-01-01T00:00")], _MINUTE).replace(tzinfo=UTC)
    except ValueError:
        form.wrong("expires", "A date and a time are needed, such as 2027-01-31T18:00.")
        return 0
    at_ms = int(at.timestamp()) * clock.MS_PER_S
    if at_ms <= now_ms:
        form.wrong("expires", "This is in the past.")
    return at_ms


def _cap(form: Form) -> int:
    try:
        cap_nano = nano_from_dollars(form["spend_cap"])
    except ValueError:
        form.wrong("spend_cap", "An amount in dollars is needed, such as 25 or 0.50.")
        return 0
    if not 0 <= cap_nano <= _CAP_MOST_NANO:
        form.wrong("spend_cap", "An amount from 0 to 10,000,000 dollars is needed.")
        return 0
    return cap_nano


def _amount(form: Form, name: str) -> int | None:
    typed = form[name].strip().replace(",", "")
    if not typed:
        return None
    if not (typed.isascii() and typed.isdecimal()) or int(typed[:20]) > LIMIT_MOST:
        form.wrong(name, "A whole number is needed, or nothing for no limit.")
        return None
    return int(typed)


def _with(names: Sequence[str], name: str) -> Sequence[str]:
    return names if not name or name in names else (*names, name)
