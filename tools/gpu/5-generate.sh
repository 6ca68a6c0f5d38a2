#!/usr/bin/env bash
# Beside transformers: its own generate on the same GPU, weights and requests, and the ratio.
#     5-generate.sh bfloat16|float32 [OPTION...]
# In float32, where nothing here is fast, tokens are compared too. Four layers of the model are
# written once, 6 or 12 GB in the temporary folder. Rounds end within the budget: below 9 minutes.
source "$(dirname "$0")/environment.sh"
dtype=${1:?bfloat16 or float32}
shift
[ "$DEVICE" = cpu ] && kernels=torch || kernels=triton
export HF_HUB_DISABLE_PROGRESS_BARS=1
step python3 tests/benchmarks/engine.py --model "$MODEL" --layers 4 --device "$DEVICE" \
    --dtype "$dtype" --kernels "$kernels" --requests 32 --prompt 512 --output 128 \
    --repeats 5 --budget 450 "$@" 2>&1 | tee "$(stamped "generate-$MODEL-$dtype").txt"
