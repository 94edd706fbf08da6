"""Contract tests see only the wire."""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def test_contract_tests_import_nothing_of_the_services() -> None:
    files = [*(TESTS / "contract").glob("*.py"), TESTS / "deployment.py"]
    assert len(files) > 2
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.split(".")[0] == "services"], path
