# Sourced by the scripts beside it: what a GPU node without a network needs, from the wheelhouse.
# The node's own torch, Triton, transformers and numpy serve; nothing of the node is changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

house=${LPBENCH_WHEELHOUSE:-dist/wheelhouse}
site=$PWD/.gpu/site
sampler=$PWD/.gpu/sampler
if [ ! -d "$site" ]; then
    python3 -m pip install --quiet --no-index --no-deps --target "$site" "$house"/*.whl
    python3 -m pip install --quiet --no-index --no-deps --target "$sampler" "$house"/sampler/*.whl
fi
export PYTHONPATH=$PWD/harness:$site${PYTHONPATH:+:$PYTHONPATH}
export LPBENCH_CUPTI=${LPBENCH_CUPTI:-$sampler}
export LPBENCH_RESULTS=${LPBENCH_RESULTS:-results/runs/gpu}
mkdir -p "$LPBENCH_RESULTS"

# What the scripts run; a trial without a GPU sets both: MODEL=builtin-moe DEVICE=cpu.
MODEL=${MODEL:-qwen3-30b-a3b}
DEVICE=${DEVICE:-cuda}

lpbench() { python3 -m lpbench "$@"; }

# Run a command under a heading with its time; its failure is told and does not end the script.
step() {
    local from=$SECONDS
    printf '\n=== %s\n' "$*"
    "$@" && local status=0 || local status=$?
    printf '=== status %s, %s s\n' "$status" "$((SECONDS - from))"
}
