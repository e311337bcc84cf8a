"""The pair's own tokenizer: a byte-level BPE in which a number is a run of stable one- or two-digit pieces."""

from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 4096
PIECE_WEIGHT = 500
END, PAD = "<|endoftext|>", "<|padding|>"

# Digits never join a space or each other beyond two, so that "24" is the same piece in "(24M)" and " 24": a model that
# copies facts then only has to copy pieces. An amount's "$" and its first digits are one piece: no piece that looks the
# same for all amounts then stands between the words that say which one is due and its digits.
WORDS = r"'(?:s|t|m|d|ll|ve|re)|[ -]?\$\p{N}{1,2}|\p{N}{1,2}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_tokenizer(
    texts: Iterable[str], words: Sequence[str] = (), vocabulary: int = VOCABULARY
) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE of at most `vocabulary` pieces; any Unicode text round-trips through its bytes.

    Two-digit numbers, amounts' first digits, and `words` (after a space) are made frequent enough to become pieces of
    their own.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    numbers = [f"{number:02d}" for number in range(100)]
    amounts = [f"{before}${number}" for number in range(1, 100) for before in (" ", "-")]
    pieces = numbers + amounts + [f" {word}" for word in words]
    bpe.train_from_iterator([*pieces * PIECE_WEIGHT, *texts], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
