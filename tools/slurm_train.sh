#!/usr/bin/env bash
# Train on a Slurm cluster:
# [GPUS=16] tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [flags of tools/train.py]
source "$(dirname "$0")/launchers.sh"
needs 4 'PARTITION JOB_NAME CONFIG WORK_DIR [flags of tools/train.py]' "$@"
with_slurm "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
