#!/usr/bin/env bash
# Does it run: what can be measured, tests/gpu but those of 1-kernels and 2-meters, the built-in
# job. About 6 minutes.
source "$(dirname "$0")/environment.sh"
step lpbench doctor --json "$LPBENCH_RESULTS/doctor.json"
step lpbench doctor
step python3 -m pytest -p no:cacheprovider -q -rA -W default tests/gpu \
    --ignore tests/gpu/test_meters.py \
    --ignore tests/gpu/test_kernels.py --ignore tests/gpu/test_replay.py
step lpbench traffic --device "$DEVICE" --no-progress --output "$(stamped traffic-mixed)"
