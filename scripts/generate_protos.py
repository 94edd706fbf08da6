"""Generates proto/gen from proto/tollhouse; with --check, fails when what is committed is stale."""

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GEN = PROTO / "gen"


def generate(target: Path) -> None:
    """Writes the Python modules and their type stubs of every .proto file under `target`."""
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / "tollhouse").rglob("*.proto"))
    plugins = Path(sys.executable).parent
    command = [
        sys.executable,
        *("-m", "grpc_tools.protoc"),
        f"--proto_path={PROTO}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out=quiet:{target}",
        *sources,
    ]
    subprocess.run(command, check=True)
    (target / "tollhouse" / "v1" / "__init__.py").touch()
    (target / "tollhouse" / "v1" / "py.typed").touch()


def differences(left: filecmp.dircmp[str]) -> list[str]:
    """Names that stand on one side only or differ in content, bytecode aside."""
    found = [name for name in left.left_only + left.right_only + left.diff_files if name != "__pycache__"]
    for sub in left.subdirs.values():
        found += differences(sub)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(filecmp.dircmp(fresh, GEN)) if GEN.exists() else ["everything"]
        if "--check" in sys.argv:
            if stale:
                sys.exit(f"proto/gen is stale ({', '.join(stale)}): run `make proto` and commit the result")
            return
        shutil.rmtree(GEN, ignore_errors=True)
        shutil.copytree(fresh, GEN)


if __name__ == "__main__":
    main()
