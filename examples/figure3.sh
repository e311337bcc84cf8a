#!/bin/sh
# The paper's Figure 3 on the embedded world: DPO from the embedded reference, which SFT made, and from a model that has
# read posts but no summaries. A few minutes on two cores.
#   examples/figure3.sh OUT [BIN]      BIN: the folder of dpo-credit and python, if they are not on the PATH
set -eu
out=$1
bin=${2:+$2/}
here=$(dirname "$0")

"${bin}python" -m dpo_credit.demo.start --out "$out" --sft 3600
"${bin}dpo-credit" train sft --config "$here/demo/sft.yaml" --set model="$out/start" --set data="$out/posts.jsonl" \
  --set output="$out/plain" --overwrite
for start in with without; do
  model=embedded
  [ $start = with ] || model=$out/plain
  "${bin}dpo-credit" train dpo --config "$here/demo/dpo.yaml" --set model="$model" --set data="$out/dpo.jsonl" \
    --set output="$out/$start" --set loss=sigmoid --set 'trl={gradient_checkpointing: false}' \
    --set learning_rate=2e-4 --set save_steps=5 --overwrite
  "${bin}dpo-credit" trajectory "$out/$start" "$out/validation.jsonl" -o "$out/$start.jsonl" --overwrite >/dev/null
done
"${bin}dpo-credit" trajectory "$out/with.jsonl" "$out/without.jsonl" --labels "with SFT,without SFT" \
  --png "$out/figure3.png" --html "$out/figure3.html"
