#!/usr/bin/env bash
# The headline's joules, chunked against layered with an A/A arm: the budget holds the 6 blocks of
# an interval where chunked takes at most a quarter longer; with loading about 9.5 minutes.
#     3-energy.sh DECODES [OPTION...]        DECODES: 0, 8, 32
source "$(dirname "$0")/environment.sh"
decodes=${1:?DECODES}
shift
step lpbench energy --model "$MODEL" --load-format dummy --device "$DEVICE" --no-progress \
    --workload "decodes-$decodes" --time-budget 510 \
    --output "$(stamped "energy-$MODEL-decodes-$decodes")" "$@"
