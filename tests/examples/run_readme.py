"""Runs the lpbench commands of a README, in order, in one empty folder.

A command is a line `$ lpbench ...` of a block marked `console`.
Exit 77 (this machine lacks the capability) is no failure; anything else but 0 is.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

CAPABILITY_ABSENT = 77


def commands(text: str) -> list[str]:
    """Return the lpbench command lines of the text's console blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^\$ (lpbench\b.*)$", "\n".join(blocks), flags=re.MULTILINE)


def main() -> None:
    """Run them; stop at the first that fails."""
    wanted = commands(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if not wanted:
        sys.exit(f"{sys.argv[1]}: no line '$ lpbench ...' in a ```console block")
    with tempfile.TemporaryDirectory() as folder:
        for command in wanted:
            sys.stderr.write(f"$ {command}\n")
            code = subprocess.run(["sh", "-c", command], cwd=folder, check=False).returncode
            if code not in {0, CAPABILITY_ABSENT}:
                sys.exit(f"exit {code}: {command}")
    sys.stderr.write(f"{len(wanted)} commands of {sys.argv[1]} ran\n")


if __name__ == "__main__":
    main()
