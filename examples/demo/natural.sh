#!/usr/bin/env bash
# Train the pair smollm2 from natural posts: rows, reference, its likely mistakes, policy, and its figures on validation.
# Usage: examples/demo/natural.sh [FOLDER of the dpo-credit program]; ROWS=6000 is for a GPU. On two cores: ROWS=1000
# POSTS=1000, which learns the policy from so many drawn posts, each read once for its dozen pairs (5 s a post).
set -euo pipefail
cd "$(dirname "$0")/../.."
program="${1:+$1/}dpo-credit" python="${1:+$1/}python"
rows=${ROWS:-6000} posts=${POSTS:-}
"$program" pairs --fetch smollm2 >/dev/null
"$python" -m dpo_credit.demo.natural_rows --out natural-run --sft "$rows" --dpo "$rows"
"$program" train sft -c examples/demo/natural_sft.yaml
if [ -n "$posts" ]; then
    "$python" -m dpo_credit.demo.natural_train --start natural-run/sft --out natural-run/dpo --posts "$posts"
else
    "$python" -m dpo_credit.demo.natural_rows --out natural-run --dpo "$rows" --reference natural-run/sft
    "$program" train dpo -c examples/demo/natural_dpo.yaml
fi
"$python" -m dpo_credit.demo.natural_evaluate --split validation --posts 100 --trained natural-run/dpo
echo "if that is better: python -m dpo_credit.demo.natural_publish natural-run/dpo" >&2
