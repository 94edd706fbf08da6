"""docs/MANAGEMENT.md names every operation with its scope, and no others; the OpenAPI document is valid."""

import re

from openapi_spec_validator import validate

from services.console.access_tokens import Scope
from services.console.api import NAMED, OPERATIONS, openapi
from services.console.api.key_forms import KeyForm, KeyObject
from tests.docs.pages import page, table_rows

MANAGEMENT = page("MANAGEMENT.md")
DOCUMENT = openapi.document(OPERATIONS, NAMED)


def plain_path(path: str) -> str:
    """The path without the types of its pieces."""
    return re.sub(r":\w+}", "}", path)


def test_the_page_names_exactly_the_operations_that_there_are() -> None:
    said = {(cells[0], cells[1]) for cells in table_rows(MANAGEMENT) if re.match(r"`[A-Z]+ /", cells[0])}
    there = {(f"`{one.method} {plain_path(one.path)}`", f"`{one.scope.label}`") for one in OPERATIONS}
    assert said == there


def test_every_scope_and_every_field_of_a_key_is_named() -> None:
    for name in (*(scope.label for scope in Scope), *KeyObject.__struct_fields__):
        assert f"`{name}`" in MANAGEMENT
    assert set(KeyForm.__struct_fields__) <= set(KeyObject.__struct_fields__)


def test_the_document_is_valid_and_has_each_operation_once() -> None:
    validate(DOCUMENT)
    names = [one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names)) == len(OPERATIONS)


def test_no_schema_is_without_use() -> None:
    used = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert used == DOCUMENT["components"]["schemas"].keys()


def test_every_change_is_audited_here_or_by_the_ledger() -> None:
    elsewhere = {operation.name for operation in OPERATIONS if operation.changes and not operation.audited}
    by_the_ledger = {
        "topUp",
        "adjustBalance",
        "setPrice",
        "applyPriceBook",
        "createVouchers",
        "voidVouchers",
        "redeemOwnVoucher",
    }
    each_by_itself = {"updateOwnKeyOfBody", "deleteOwnKeys", "revealOwnKeys"}
    assert elsewhere == by_the_ledger | each_by_itself


def test_no_answer_has_a_field_for_a_credential() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if name != "Credential":
            assert not {"credential", "password_hash", "key_hash"} & schema.get("properties", {}).keys(), name
