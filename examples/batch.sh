#!/usr/bin/env bash
# Score a JSONL file, then filter it with jq: the pairs that the policy orders wrongly, the worst one first.
# Usage: examples/batch.sh [POSTS.jsonl] [SCORED.jsonl] [options of dpo-credit batch]      run it again to go on
set -euo pipefail
examples=$(cd "$(dirname "$0")" && pwd)
posts=${1:-$examples/posts.jsonl}
scored=${2:-scored.jsonl}
shift $(($# < 2 ? $# : 2))

status=0
dpo-credit batch "$posts" -o "$scored" --resume "$@" || status=$?
case $status in
    0) ;;
    3) jq -r '"line \(.line): \(.error)"' "$scored.errors.jsonl" >&2 ;; # some rows are bad; the others are scored
    *) exit "$status" ;;
esac
jq -s -c 'map(select(.credit.margin < 0)) | sort_by(.credit.margin)[] | {id, margin: .credit.margin, rejected}' "$scored"
