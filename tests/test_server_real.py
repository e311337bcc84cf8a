"""A real llama.cpp server against the same file here, where both are named; nothing of it is fetched.

DPO_CREDIT_LLAMA_SERVER=build/bin/llama-server DPO_CREDIT_GGUF=model.gguf pytest tests/test_server_real.py
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from dpo_credit import Loading, load_pair, score

PROGRAM, FILE = os.environ.get("DPO_CREDIT_LLAMA_SERVER"), os.environ.get("DPO_CREDIT_GGUF")
CLOSE = 0.3  # nats: it multiplies quantised weights in eight bits; in float32 at most 0.012 were measured
ANSWERS = [
    ("POST: My landlord raised the rent by 120 dollars and gave me ten days.\nTL;DR:", " Rent up by 120 dollars."),
    {
        "prompt": [{"role": "user", "content": "What is the capital of Australia?"}],
        "completion": [{"role": "assistant", "content": "The capital of Australia is Canberra."}],
    },
]

pytestmark = pytest.mark.skipif(not (PROGRAM and FILE), reason="DPO_CREDIT_LLAMA_SERVER and DPO_CREDIT_GGUF name none")


@pytest.fixture
def address() -> Iterator[str]:
    """A server of the file; whoever asks first waits until it is loaded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PROGRAM), "-m", str(FILE), "--host", "127.0.0.1", "--port", str(port), "-c", "4096", "-np", "1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def test_a_served_file_gives_the_numbers_of_the_same_file_here(address: str) -> None:
    pair = load_pair(str(FILE), address, beta=1.0, loading=Loading(device="cpu"))
    for credit in score(pair, ANSWERS):
        assert credit.policy_logps == pytest.approx(credit.reference_logps, abs=CLOSE)
        assert len(set(credit.reference_logps)) > 1
