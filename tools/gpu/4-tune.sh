#!/usr/bin/env bash
# Tiles of the expert kernels for this GPU, before 4-speed.sh triton, which takes them from the cache.
#     4-tune.sh [OPTION...]                  such as --rows 1,8,32
# About a hundred kernels are compiled, a second each where that was timed, on a CPU alone.
source "$(dirname "$0")/environment.sh"
step lpbench tune --model "$MODEL" --device "$DEVICE" --no-progress \
    --json "$(stamped "tune-$MODEL").json" "$@"
