"""docs/SIMULATOR.md has every key of the simulator's script with its bounds, and no others."""

import dataclasses

import pytest

from services.simulator.script import STATUSES, Script
from tests.docs.pages import page, table_rows

ROWS = {cells[0].strip("`"): cells[1:] for cells in table_rows(page("SIMULATOR.md")) if len(cells) == 4}
FIELDS = dataclasses.fields(Script)


def test_every_key_is_documented_and_no_other() -> None:
    assert set(ROWS) - {"key", "---"} == {field.name for field in FIELDS}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_key_is_shown_with_its_bounds(field: "dataclasses.Field[object]") -> None:
    low, high = field.metadata["low"], field.metadata["high"]
    assert ROWS[field.name][1] == ("text" if isinstance(field.default, str) else f"{low} to {high}")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_key_is_shown_with_its_default(field: "dataclasses.Field[object]") -> None:
    if field.default not in (None, ""):
        shown = f"{field.default:g}" if isinstance(field.default, int | float) else field.default
        assert ROWS[field.name][0] == shown


def test_every_status_that_may_be_scripted_is_named() -> None:
    assert ROWS["status"][2].endswith(": " + ", ".join(map(str, STATUSES)))
