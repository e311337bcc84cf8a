"""Progress bars that transformers draws by itself: a library prints nothing; whoever calls it may show progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tqdm.auto import tqdm
from transformers import modeling_gguf_pytorch_utils as gguf
from transformers.utils import logging


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """None is drawn while the block runs."""
    shown, bar = logging.is_progress_bar_enabled(), gguf.tqdm
    logging.disable_progress_bar()
    gguf.tqdm = partial(tqdm, disable=True)  # it asks nobody
    try:
        yield
    finally:
        gguf.tqdm = bar
        if shown:
            logging.enable_progress_bar()
