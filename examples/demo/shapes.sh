#!/usr/bin/env bash
# Train the pair of drawings from nothing, on two cores: reference, policy, and its figures on validation.
# Usage: examples/demo/shapes.sh [FOLDER of the python that has dpo-credit]; stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${1:+$1/}python"
"$python" -m dpo_credit.demo.shapes_train --stage sft --out shapes-run/reference
"$python" -m dpo_credit.demo.shapes_train --stage dpo --reference shapes-run/reference --out shapes-run/policy
"$python" -m dpo_credit.demo.shapes_evaluate --pair shapes-run --split validation
echo "if that is better: copy policy/ and reference/ of shapes-run to dpo_credit/demo/shapes, without state.pt" >&2
