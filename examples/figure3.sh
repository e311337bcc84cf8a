#!/bin/sh
# The paper's Figure 3 on the embedded world: DPO with and without SFT on the chosen answers before it. Both begin with a
# model that knows the facts of a post but writes other summaries (plain ones, without asides): the embedded reference
# after some training on these. About ten minutes on two cores.
#   examples/figure3.sh OUT [BIN]      BIN: the folder of dpo-credit and python, if they are not on the PATH
set -eu
out=$1
bin=${2:+$2/}
here=$(dirname "$0")

sft() {
  "${bin}dpo-credit" train sft --config "$here/demo/sft.yaml" --set model="$1" --set data="$2" --set output="$3" \
    --set batch_size=16 --set learning_rate=1e-3 --set warmup_steps=10 --overwrite
}

"${bin}python" -m dpo_credit.demo.start --out "$out" --sft 2400
sft embedded "$out/plain.jsonl" "$out/plain"
sft "$out/plain" "$out/dpo.jsonl" "$out/sft"
for start in sft plain; do
  "${bin}dpo-credit" train dpo --config "$here/demo/dpo.yaml" --set model="$out/$start" --set data="$out/dpo.jsonl" \
    --set output="$out/from-$start" --set loss=sigmoid --set 'trl={gradient_checkpointing: false}' \
    --set learning_rate=2e-4 --set save_steps=5 --overwrite
  "${bin}dpo-credit" trajectory "$out/from-$start" "$out/validation.jsonl" -o "$out/from-$start.jsonl" --overwrite \
    >/dev/null
done
"${bin}dpo-credit" trajectory "$out/from-sft.jsonl" "$out/from-plain.jsonl" --labels "with SFT,without SFT" \
  --png "$out/figure3.png" --html "$out/figure3.html"
