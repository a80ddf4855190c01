#!/usr/bin/env bash
# Evaluate with several processes:
# tools/dist_test.sh CONFIG CHECKPOINT GPUS [flags of tools/test.py]
# On CPUs: tools/dist_test.sh CONFIG CHECKPOINT 2 --device cpu
# On several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST tools/dist_test.sh …
source "$(dirname "$0")/launchers.sh"
needs 3 'CONFIG CHECKPOINT GPUS [flags of tools/test.py]' "$@"
with_pytorch "$3" test.py "$1" "$2" "${@:4}"
