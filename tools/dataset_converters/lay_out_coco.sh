#!/usr/bin/env bash
# Unpack COCO 2017 as `mim download mmdcls --dataset coco2017` leaves it, for the configs.
#   lay_out_coco.sh DOWNLOAD_ROOT DATA_ROOT
set -euo pipefail
download=$1 data=$2

raw=$(find "$download" -type d -path '*COCO_2017/raw' -print -quit)
[ -n "$raw" ] || { echo "error: there is no COCO_2017/raw below $download." >&2; exit 1; }
mkdir -p "$data"
for archive in Images/train2017 Images/val2017 Annotations/annotations_trainval2017; do
    unzip -q -n "$raw/$archive.zip" -d "$data"
done
echo "$data is complete; the archives in $raw are no longer needed."
