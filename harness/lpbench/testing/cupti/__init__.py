"""A double of the cupti package in a folder: to run the real sampler without a GPU.

Owns: the folder's layout, and what a test can make the double do.
Must not know: the sampler.

`cupti.py`, `pm_sampling.py` and `profiler_host.py` beside this file are the double: own code with
the names, call order and exceptions of cupti-python 13.4, copied into the folder as they stand.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

MODULES = ("cupti", "pm_sampling", "profiler_host")

Fault = Literal[
    "broken_import",  # a package that cupti needs is missing
    "no_libcuda",  # enable raises
    "permission_denied",
    "hardware_busy",
    "already_enabled",
    "no_nvperf",
    "no_device",
    "mig",
    "virtualised",
    "out_of_memory",
    "needs_context",  # enable raises unless the process has a CUDA context
    "needs_context_quietly",  # so it does, with the exception it has for missing libraries
    "unknown_chip",  # the host evaluator raises
    "unknown_metric",  # no metric is known
    "multi_pass",  # more than the pair of bytes needs two passes
    "always_multi_pass",
    "not_supported",  # configure raises
    "few_counters",  # configure raises for more than two metrics, which the chip would take
    "overflow",  # decode raises half way
    "overflow_flag",  # decode sets its flag only
    "truncated",  # decode leaves records and says so
    "no_samples",
    "crash",  # the process dies when stopped
    "hang",  # start never returns
]
"""What can go wrong."""


def build_cupti_double(
    folder: Path,
    *,
    read: Sequence[float] = (0, 0, 0, 4096, 8192, 0, 0, 0),
    written: Sequence[float] = (0, 0, 0, 1024, 2048, 0, 0, 0),
    chip: str = "GH100",
    metrics: Sequence[str] = ("dram__bytes_read.sum", "dram__bytes_write.sum"),
    fault: Fault | None = None,
) -> Path:
    """Write the double and return the folder, for LPBENCH_CUPTI to name.

    Args:
        folder: where it goes; made where it is not there.
        read: bytes of the pair's first metric, sample by sample; each lasts the interval.
        written: bytes of its second metric.
        chip: what the device says it is.
        metrics: the pair; of the other metrics those that all chips have are known.
        fault: what goes wrong.
    """
    package = folder / "cupti"
    package.mkdir(parents=True)
    for module in MODULES:
        shutil.copyfile(Path(__file__).with_name(f"{module}.py"), package / f"{module}.py")
    init = '"""A double of cupti-python."""\n\nfrom . import pm_sampling, profiler_host\n'
    (package / "__init__.py").write_text(init, encoding="utf-8")
    script = {
        "chip": chip,
        "metrics": list(metrics),
        "read": list(read),
        "written": list(written),
        "fault": fault,
    }
    (package / "script.json").write_text(json.dumps(script), encoding="utf-8")
    info = folder / "cupti_python-0.0.dist-info"
    info.mkdir()
    text = "Metadata-Version: 2.1\nName: cupti-python\nVersion: 0.0+double\n"
    (info / "METADATA").write_text(text, encoding="utf-8")
    return folder
