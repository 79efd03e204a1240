#!/usr/bin/env bash
# Refuses an image that is not named by its digest.
#
# usage: tools/require-digest.sh VARIABLE IMAGE
set -euo pipefail

if [[ ! $2 =~ ^[^@[:space:]]+@sha256:[0-9a-f]{64}$ ]]; then
  echo "$1 is refused: '$2' is not an image with a digest, NAME@sha256:<64 hexadecimal digits>. Look the digest up with" \
    "'docker buildx imagetools inspect NAME:TAG', check it, and set $1 to it." >&2
  exit 1
fi
