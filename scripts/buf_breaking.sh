#!/usr/bin/env bash
# Fails if the contract broke compatibility with the last release: the last tag, or, before the
# first tag, the commit before this one.
set -euo pipefail
cd "$(dirname "$0")/.."
against=$(git describe --tags --abbrev=0 2>/dev/null || git rev-parse --verify -q 'HEAD^' || true)
if [ -z "$against" ] || ! git cat-file -e "$against:buf.yaml" 2>/dev/null; then
    echo "buf breaking: nothing to compare with"
    exit 0
fi
exec buf breaking --against ".git#ref=$against"
