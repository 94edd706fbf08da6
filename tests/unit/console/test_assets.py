"""Unit tests of services.console.assets, and of the files that are vendored."""

import hashlib
import re
from pathlib import Path

from services.console.assets import FOLDER, Assets

VENDOR = FOLDER / "vendor"


def test_a_file_is_served_under_a_name_that_changes_with_it(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    file = tmp_path / "part" / "look.min.css"
    file.write_text("a{}")
    before = Assets(tmp_path)
    file.write_text("b{}")
    after = Assets(tmp_path)
    first, second = (assets.url("part/look.min.css") for assets in (before, after))
    assert re.fullmatch(r"/static/part/look\.min\.[0-9a-f]{12}\.css", first)
    assert first != second
    asset = after.get(second.removeprefix("/static/"))
    assert asset is not None
    assert (asset.content, asset.media_type) == (b"b{}", "text/css; charset=utf-8")
    assert after.get(first.removeprefix("/static/")) is None


def test_only_what_pages_load_is_served() -> None:
    assert "vendor/README.md" not in Assets().urls
    assert {"console.css", "console.js", "mark.svg", "vendor/htmx.min.js"} <= Assets().urls.keys()


def test_vendored_files_are_those_that_their_list_says() -> None:
    said = dict(
        re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|", (VENDOR / "README.md").read_text(), re.MULTILINE)
    )
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.suffix in (".js", ".css")
    }
    assert said == found
    licences = re.findall(r"`(LICENSE-\w+)`", (VENDOR / "README.md").read_text())
    assert all((VENDOR / name).stat().st_size > 100 for name in licences)
