#!/usr/bin/env bash
# The headline, one cell a command: bytes counted, modelled and measured, TTFT and TBT.
#     3-headline.sh DECODES [OPTION...]      DECODES: 0, 8, 32
# About 4 minutes, most of it loading twice; --gpu-memory-utilization 0.6 keeps the audit in the
# run's own dtype, and with that from drawing the model again in float32.
source "$(dirname "$0")/environment.sh"
decodes=${1:?DECODES}
shift
step lpbench traffic --model "$MODEL" --load-format dummy --device "$DEVICE" --no-progress \
    --workload "decodes-$decodes" --ledger \
    --output "$LPBENCH_RESULTS/traffic-$MODEL-decodes-$decodes" "$@"
