#!/usr/bin/env bash
# Is it right: every kernel at real sizes, captured pieces against launches. About 5 minutes.
#     1-kernels.sh [PYTEST OPTION...]
source "$(dirname "$0")/environment.sh"
step python3 -m pytest -p no:cacheprovider -q -rA -W default \
    tests/gpu/test_kernels.py tests/gpu/test_replay.py "$@"
