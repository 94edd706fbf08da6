"""Unit tests of services.console.quick_starts."""

from pathlib import Path

from services.console import quick_starts

FOLDER = Path(quick_starts.__file__).parent / "templates" / "quick_starts"


def test_every_snippet_has_its_template_and_every_template_its_place() -> None:
    named = {f"{snippet.file}.j2" for tool in quick_starts.TOOLS for snippet in tool.snippets}
    assert named == {path.name for path in FOLDER.iterdir()}


def test_no_snippet_holds_an_address_or_a_key_of_its_own() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text()
        assert "http" not in text
        assert "sk-" not in text


def test_anthropics_sdks_add_the_version_themselves() -> None:
    assert quick_starts.without_version("https://api.example/api/proxy/v1") == "https://api.example/api/proxy"


def test_an_unknown_tool_is_the_first() -> None:
    assert quick_starts.tool_named("nothing").name == "curl"
