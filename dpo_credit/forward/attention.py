"""Attention over a pack, in which a token sees its prompt and what it continues: three ways to the same numbers.

"trees" asks for each tree by itself, which suits a CPU. On a GPU every such call is launched, and planned, anew: there
"dense" makes one call with a mask of N x N, for small packs, and "flex" one call of a kernel that is compiled once for
packs of one length and passes over the blocks in which nobody sees anybody (FlexAttention).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from dpo_credit.forward.packing import Pack, Tree

Kind = Literal["trees", "dense", "flex"]
BLOCK = 128  # tokens in a block of FlexAttention's mask


def mask_of(pack: Pack, kind: Kind, device: torch.device, dtype: torch.dtype) -> Tensor | BlockMask | None:
    """What "dense" and "flex" are told of a pack, made once for all layers and both models; None for "trees"."""
    if kind == "trees":
        return None
    placed = pack.on(device)
    key = kind if kind == "flex" else dtype
    if key not in placed.sees:
        placed.sees[key] = block_mask(pack.stream.end, placed.end) if kind == "flex" else dense_mask(placed.end, dtype)
    return placed.sees[key]  # type: ignore[return-value]


def dense_mask(end: Tensor, dtype: torch.dtype) -> Tensor:
    """(1, 1, N, N): 0 where the token of a row sees that of a column, -inf where not; `end` as in `packing`."""
    place = torch.arange(len(end), device=end.device)
    return _bias((place <= place[:, None]) & (place[:, None] < end), dtype)[None, None]


def block_mask(end: Tensor, placed: Tensor) -> BlockMask:
    """The blocks that FlexAttention must visit, from the tokens' ends alone: no N x N comparison.

    Args:
        end: (N,) as in `packing`, on the CPU; N a multiple of `BLOCK`.
        placed: the same where attention runs.
    """
    # Tokens see themselves, so those who see any token of a block lie in one piece that begins with the block.
    tiles = end.view(-1, BLOCK)
    latest, earliest = tiles.amax(1), tiles.amin(1)
    start = torch.arange(len(tiles)) * BLOCK
    query, key = start[:, None], start[None]
    seen = (key <= query) & (query < latest)
    whole = (key < query) & (query + BLOCK <= earliest)

    def sees(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < placed[k])

    return BlockMask.from_kv_blocks(
        *_listed(seen & ~whole, placed.device),
        *_listed(whole, placed.device),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(len(end), len(end)),
    )


def _listed(blocks: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """(rows, columns) of flags -> how many columns each row has, and these columns first; as FlexAttention wants it."""
    counts = blocks.sum(1, dtype=torch.int32)
    columns = blocks.to(torch.int8).argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return counts[None, None].to(device), columns[None, None].to(device)


def attend_masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | BlockMask, scale: float | None) -> Tensor:
    """One layer's attention by a mask of `mask_of`: query (1, H, N, D), key and value (1, G, N, D) -> (1, N, H, D)."""
    groups = query.shape[1] // key.shape[1]
    if isinstance(mask, BlockMask):
        # within a compiled layer the call is compiled with it
        inside = torch.compiler.is_compiling() or not query.is_cuda
        attend: Callable[..., Any] = flex_attention if inside else compiled_flex()  # type: ignore[assignment]
        # torch 2.13 reads strided inputs wrongly where it compiles them for a CPU with what makes them
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        out = attend(query, key, value, block_mask=mask, scale=scale, enable_gqa=groups > 1)
    else:
        key, value = repeated(key, value, groups)
        with _unplanned(query):
            out = nn.functional.scaled_dot_product_attention(query, key, value, mask.to(query.dtype), scale=scale)
    return out.transpose(1, 2)


@cache
def compiled_flex() -> Callable[..., Any]:
    """FlexAttention as a kernel of its own; compiled when it is first called, and again for other lengths."""
    return torch.compile(flex_attention, dynamic=False)


def repeated(key: Tensor, value: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Keys and values for each query head, where several share them."""
    if groups == 1:
        return key, value
    return key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)


def _unplanned(query: Tensor) -> AbstractContextManager[None]:
    """Without cuDNN, which plans for every new length, for longer than it then computes."""
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]) if query.is_cuda else nullcontext()


def attend_trees(pack: Pack, query: Tensor, key: Tensor, value: Tensor, scale: float | None, *, last: bool) -> Tensor:
    """One layer's attention tree by tree; of the last layer only what is needed: see `Pack.needed`."""
    key, value = repeated(key, value, query.shape[1] // key.shape[1])
    out = (query.new_zeros if last else query.new_empty)(1, query.shape[2], query.shape[1], value.shape[3])
    known = pack.on(query.device).sees
    start = 0
    for number, tree in enumerate(pack.trees):
        name = number, query.dtype
        if name not in known and (last or not tree.is_chain):
            known[name] = tree_bias(tree, query.dtype).to(query.device)
        whole = slice(start, start + len(tree))
        parts = query[:, :, whole], key[:, :, whole], value[:, :, whole]
        for places, given in _passes(tree, known.get(name), last):  # type: ignore[arg-type]
            out[:, whole][:, places] = _attended(parts, places, given, scale)
        start += len(tree)
    return out


def _passes(tree: Tree, bias: Tensor | None, last: bool) -> list[tuple[slice, Tensor | None]]:
    """Which of a tree's places attend together, with what bias: none is causal."""
    if last:
        return [(slice(tree.prompt - 1, None), bias)]
    if tree.is_chain or bias is None:
        return [(slice(len(tree)), None)]
    return [(slice(tree.prompt), None), (slice(tree.prompt, None), bias[1:])]


def _attended(parts: tuple[Tensor, Tensor, Tensor], places: slice, bias: Tensor | None, scale: float | None) -> Tensor:
    """(1, n, H, D): the attention of some places of a tree; query, key and value of all of them (1, H, L, D)."""
    query, key, value = parts
    attend = nn.functional.scaled_dot_product_attention
    if bias is None:  # the first n places see one another alone
        key, value = key[:, :, places], value[:, :, places]
        return attend(query[:, :, places], key, value, is_causal=True, scale=scale).transpose(1, 2)
    return attend(query[:, :, places], key, value, bias, scale=scale).transpose(1, 2)


def tree_bias(tree: Tree, dtype: torch.dtype) -> Tensor:
    """(L - P + 1, L): what the prompt's last token and each behind it see: 0, or -inf where they do not."""
    key = torch.arange(len(tree))
    query = key[tree.prompt - 1 :, None]
    return _bias((key <= query) & (query < torch.from_numpy(tree.end)), dtype)


def _bias(sees: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, -torch.inf)
