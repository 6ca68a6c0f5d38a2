#!/usr/bin/env bash
# Do the meters tell the truth: known copies, ticks, power, GPM and ncu beside. About 5 minutes.
source "$(dirname "$0")/environment.sh"
step python3 -m pytest -p no:cacheprovider -q -rA -W default tests/gpu/test_meters.py "$@"
