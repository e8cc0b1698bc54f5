#!/usr/bin/env bash
# What a GPU makes of the engine: equal results, speed beside PEFT, where the time goes. At most 8 minutes on any CUDA
# machine: benchmarks/gpu.sh [--out FOLDER] [--seconds BUDGET] [--tiny]; --tiny runs through on a processor.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "$([ -n "${VIRTUAL_ENV:-}" ] && echo python || echo python3)" -m benchmarks.gpu "$@"
