"""What the NVML sampler takes of one core at its default rate: over the double, in real time.

CPU time of a process whose main thread waits 10 s in an open window, by kernel and interpreter;
the double answers at once, so what a real driver needs for its answers comes on top.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lpbench.meters.nvml.meter import NvmlMeter
from lpbench.testing.nvml.build import build_nvml_double

WINDOW_S = 10.5


def main() -> None:
    """Build the double and measure in a child that finds it."""
    with tempfile.TemporaryDirectory() as folder:
        build_nvml_double(Path(folder))
        environment = {**os.environ, "LD_LIBRARY_PATH": folder}
        subprocess.run([sys.executable, __file__, "child"], env=environment, check=True)


def measure() -> None:
    """Print the share of a core between start and stop, and what the window came to."""
    meter = NvmlMeter()
    meter.start()
    cpu, wall = time.process_time(), time.perf_counter()
    time.sleep(WINDOW_S)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    found = meter.stop()
    joules = found.readings["total_gpu_energy_j"]
    power = found.readings["gpu_power_w_mean"]
    sys.stdout.write(
        f"{cpu / wall:.3%} of a core over {wall:.1f} s, {len(found.series['nvml_power_w'])} reads "
        f"of power, {len(found.series['nvml_sm_clock_mhz'])} of the state\n"
        f"{joules.value} +- {joules.uncertainty} J, {power.value} W, {joules.validity} "
        f"{joules.reasons}, {joules.source}\n"
    )


if __name__ == "__main__":
    measure() if len(sys.argv) > 1 else main()
