#!/usr/bin/env bash
# Evaluate on a Slurm cluster:
# [GPUS=16] tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [flags of tools/test.py]
source "$(dirname "$0")/launchers.sh"
needs 4 'PARTITION JOB_NAME CONFIG CHECKPOINT [flags of tools/test.py]' "$@"
with_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
