"""Fails where a package that runs has a licence that Apache-2.0 cannot be distributed with.

    .venv/bin/python scripts/licences.py

Licences are read from the metadata of what is installed, for the names in requirements.lock (PEP 639:
License-Expression, else the classifiers, else License). Weak copyleft is compatible where the package stands apart and
unchanged, as wheels do.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPATIBLE = re.compile(
    r"\b(?:Apache|BSD|MIT|ISC|PSF|Python Software Foundation|MPL|Mozilla|LGPL|Lesser|Unlicense|0BSD|Zope|PostgreSQL)\b"
)
"""A part of the licence's name; one of several that may be chosen is enough."""


def licence(name: str) -> str:
    """What a package says of its licence."""
    about = metadata.metadata(name)
    classified = [value for value in about.get_all("Classifier", []) if value.startswith("License ::")]
    said = about.get("License-Expression") or " / ".join(value.rpartition(":: ")[2] for value in classified)
    return said or (about.get("License") or "").partition("\n")[0]


def locked(lock: Path) -> list[str]:
    """The packages that a lock file names; those for other platforms among them."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE)


def main() -> int:
    """Prints the licences: 1 where one is not compatible, or not said."""
    bad = 0
    for name in locked(ROOT / "requirements.lock"):
        try:
            said = licence(name)
        except metadata.PackageNotFoundError:
            print(f"{name}: not installed on this platform")
            continue
        compatible = COMPATIBLE.search(said) is not None
        bad += not compatible
        print(f"{name}: {said or 'says nothing'}{'' if compatible else '  <- not compatible'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
