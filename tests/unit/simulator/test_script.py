"""Scripts: what is read, and what is refused by name."""

import pytest

from services.simulator.script import Script, ScriptError, parse


def test_without_a_script_everything_has_its_default() -> None:
    assert parse("", "just a prompt") == Script()


def test_a_script_is_read_from_the_header_and_from_the_prompt_and_the_header_wins() -> None:
    assert parse("tokens=3; gap_ms=1.5", "").tokens == 3
    assert parse("", "please [[sim status=529; retry_after=7]] thanks") == Script(status=529, retry_after=7)
    assert parse("tokens=3", "[[sim tokens=4]]").tokens == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed=9", "'speed' is not a key"),
        ("tokens", "'tokens' is not a key"),
        ("tokens=many", "tokens must be a number"),
        ("tokens=0", "tokens must be 1 to"),
        ("status=418", "status must be one of"),
        ("hang=maybe", "hang must be before or after"),
        ("cut_after=-2", "cut_after must be -1 to"),
        ("gap_ms=nan", "gap_ms must be 0 to"),
        ("tokens=1;tokens=2", "tokens is there twice"),
        ("hang=after", "hang=after needs cut_after"),
        ("hang=after;cut_after=-1", "hang=after needs cut_after"),
        ("status=500;times=2", "id and times go together"),
        ("status=500;id=a", "id and times go together"),
        ("error=other", "error must be credit or signature"),
        ("error_first=1;error_type=other_error", "error_type must be one of invalid_request_error, "),
        ("retry_after_date=1", "retry_after_date needs retry_after"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        parse(text, "")
