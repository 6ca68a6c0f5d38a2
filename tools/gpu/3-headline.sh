#!/usr/bin/env bash
# The headline, one cell a command: bytes counted, modelled and measured, TTFT and TBT.
#     3-headline.sh DECODES [OPTION...]      DECODES: 0, 8, 32
# About 4 minutes. On an H200 the audit draws the model again in float32, 122 GB; with
# --gpu-memory-utilization 0.6 that does not fit, and it takes the bfloat16 weights that are there.
source "$(dirname "$0")/environment.sh"
decodes=${1:?DECODES}
shift
step lpbench traffic --model "$MODEL" --load-format dummy --device "$DEVICE" --no-progress \
    --workload "decodes-$decodes" --ledger \
    --output "$(stamped "traffic-$MODEL-decodes-$decodes")" "$@"
