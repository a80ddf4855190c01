#!/usr/bin/env bash
# Unpack ImageNet-1k as `mim download mmdcls --dataset imagenet1k` leaves it, for the
# configs.
#   lay_out_imagenet.sh DOWNLOAD_ROOT DATA_ROOT
set -euo pipefail
download=$1 data=$2

raw=$(find "$download" -type d -path '*ImageNet-1K/raw' -print -quit)
[ -n "$raw" ] || { echo "error: there is no ImageNet-1K/raw below $download." >&2; exit 1; }
mkdir -p "$data"
# One archive in parts, with a folder of its own around the splits.
cat "$raw"/*.tar.gz.* | tar -xz -C "$data" --strip-components=1
echo "$data is complete; the archives in $raw are no longer needed."
