#!/bin/sh
# The paper's Figure 2 on held-out posts of the embedded world: win rate against the right summary (judged by the facts)
# and mean length by number of beams. Beams stand by the sum of log-probabilities (Eq. 13), by their mean, or are drawn.
# About ten minutes on two cores; an interrupted run goes on.
#   examples/figure2.sh OUT [BIN] [POSTS]      BIN: the folder of dpo-credit and python, if they are not on the PATH
set -eu
out=$1
bin=${2:+$2/}
mkdir -p "$out"
"${bin}python" -m dpo_credit.demo.rows --posts "${3:-100}" > "$out/posts.jsonl"

search() {
  name=$1
  shift
  "${bin}dpo-credit" search "$out/posts.jsonl" --judge facts -o "$out/$name.jsonl" --resume "$@"
}

search sum
search mean --length-penalty 1
search drawn --sample
"${bin}dpo-credit" search "$out/sum.jsonl" "$out/mean.jsonl" "$out/drawn.jsonl" --labels "sum,mean,drawn" \
  --png "$out/figure2.png" --html "$out/figure2.html"
