"""Where a number comes from: digests of what ran, and facts about the machine.

Owns: canonical digests and the environment of a record.
Must not know: torch (its facts come in from the executor).

No host name, user name or absolute path goes into a record.
"""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

PACKAGES = ("lpbench", "numpy", "nvidia-ml-py", "pydantic", "safetensors", "torch", "triton")


def digest(value: JsonValue) -> str:
    """Return the SHA-256 of a JSON value, keys sorted, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def environment(facts: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what is known about the machine and the code, with the executor's own `facts`."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "packages": {name: found for name in PACKAGES if (found := installed_version(name))},
        "revision": _revision(),
        **facts,
    }


def installed_version(package: str) -> str | None:
    """Return the version of an installed distribution; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str | None:
    """Return the processor's name; None where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    for key in ("model name", "CPU part"):  # ARM's kernel gives parts instead of names
        for line in lines:
            if line.startswith(key):
                name = line.partition(":")[2].strip()
                return name if key == "model name" else f"{key} {name}"
    return platform.processor() or None


def _revision() -> str | None:
    """Return the checkout's commit, with "+dirty" for uncommitted changes; None in a wheel."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    git = ("git", "-C", str(root))
    try:
        head = subprocess.run(  # noqa: S603 - fixed arguments
            (*git, "rev-parse", "HEAD"), capture_output=True, text=True, check=True
        )
        status = subprocess.run(  # noqa: S603 - fixed arguments
            (*git, "status", "--porcelain"), capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+dirty" if status.stdout.strip() else "")
