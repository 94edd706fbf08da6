"""People: who may sign in, and as what."""

import secrets
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from services.console import passwords
from services.console.access_tokens import Scope
from services.console.api.admin.resources import changing, listing, reading
from services.console.api.operation import Call
from services.console.api.pages import page_of
from services.console.passwords import Weak
from services.console.people import BadAddress
from services.console.problems import Problem
from services.console.store import AddressTaken, Person

_PASSWORD_BYTES: Final = 18


class PersonObject(msgspec.Struct):
    """Somebody who may sign in."""

    person_id: str
    email: str
    role: str
    tenant_id: str
    enabled: bool


class NewPerson(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody to add: with a password of their own or one that is made, and a tenant of their own or one that is."""

    email: str
    role: str = "customer"
    tenant_id: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"NewPerson({self.email!r}, ...)"


class PersonMade(msgspec.Struct):
    """Who was added, and the password that was made, this once; empty where it was given."""

    person: PersonObject
    password: str


class PersonState(msgspec.Struct):
    """What of a person can be changed here; the rest, sent back as it was read, is not looked at."""

    enabled: bool
    role: str | UnsetType = UNSET
    """It stays where it is left out."""


def _object(person: Person) -> PersonObject:
    return PersonObject(person.person_id, person.email, person.role, person.tenant_id, person.enabled)


async def list_people(call: Call) -> Any:
    """A page of people, in the order of their ids, which is that of their coming."""
    people = [_object(person) for person in await call.console.store.people()]
    return page_of(people, lambda person: (0, person.person_id), call.query)


async def get_person(call: Call) -> PersonObject:
    """One person."""
    person = await call.console.store.person(call.path("person_id"))
    if person is None:
        raise Problem(404, "There is no such person.")
    return _object(person)


async def add_person(call: Call) -> PersonMade:
    """Adds a customer or an operator."""
    wanted: NewPerson = call.body
    _check_role(wanted.role)
    password = wanted.password or secrets.token_urlsafe(_PASSWORD_BYTES)
    try:
        passwords.check(password, wanted.email)
        person = await call.console.people.add(wanted.email, password, wanted.role, wanted.tenant_id)
    except BadAddress:
        raise Problem(400, "email: this is not an e-mail address.", param="email") from None
    except Weak as weak:
        raise Problem(400, f"password: {weak}", param="password") from None
    except AddressTaken:
        raise Problem(409, "There is a person of that address already.", param="email") from None
    return PersonMade(_object(person), "" if wanted.password else password)


async def update_person(call: Call) -> PersonObject:
    """Lets a person in, or shuts them out: then their sessions end, and their access tokens are good for nothing. Makes
    them an operator, or one no more."""
    person, wanted = await get_person(call), call.body
    role = person.role if wanted.role is UNSET else wanted.role
    _check_role(role)
    if person.person_id == call.caller.person.person_id and (not wanted.enabled or role != person.role):
        raise Problem(409, "Nobody shuts themselves out, or takes operating from themselves: another operator does.")
    await call.console.store.set_role(person.person_id, role)
    await call.console.store.set_enabled(person.person_id, wanted.enabled)
    return await get_person(call)


async def end_sessions(call: Call) -> None:
    """Ends all of a person's sessions."""
    person = await get_person(call)
    await call.console.store.end_sessions(person.person_id)


def _check_role(role: str) -> None:
    if role not in ("customer", "operator"):
        raise Problem(400, "role: customer or operator is needed.", param="role")


operations = (
    listing("/people", "listPeople", "People, in the order of their coming", list_people, PersonObject),
    changing(
        "POST",
        "/people",
        "addPerson",
        "Adds a customer or an operator",
        add_person,
        PersonMade,
        body=NewPerson,
        scope=Scope.ADMIN_PEOPLE,
        status=201,
        target="{email}",
    ),
    reading("/people/{person_id}", "getPerson", "One person", get_person, PersonObject),
    changing(
        "PUT",
        "/people/{person_id}",
        "updatePerson",
        "Lets a person in or shuts them out, makes them an operator or a customer",
        update_person,
        PersonObject,
        body=PersonState,
        scope=Scope.ADMIN_PEOPLE,
        current=get_person,
    ),
    changing(
        "DELETE",
        "/people/{person_id}/sessions",
        "endSessions",
        "Ends all of a person's sessions",
        end_sessions,
        scope=Scope.ADMIN_PEOPLE,
    ),
)
