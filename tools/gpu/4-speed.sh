#!/usr/bin/env bash
# Speed of the engine: decodes and whole prompts against the roofline, by our kernels and by torch's.
#     4-speed.sh triton|torch [OPTION...]
# The model is loaded once; with ours every piece is captured first. About 5 minutes.
source "$(dirname "$0")/environment.sh"
kernels=${1:?triton or torch}
shift
step lpbench bench-engine --model "$MODEL" --load-format dummy --device "$DEVICE" --no-progress \
    --kernels "$kernels" --output "$(stamped "engine-$MODEL-$kernels")" "$@"
