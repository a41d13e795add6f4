"""PyTorch's side of `lstm`, as its users write it. Nothing here imports JAX."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.tools.bench.pytorch import set_up
from experiments.tools.bench.side import RunSteps

TEXT, WEIGHTS = "text.npy", "weights.safetensors"
RATE, CLIP_NORM = 2e-3, 1.0


def training(
    *, cell: str, features: int, layers: int, window: int, batch_size: int, directory: str
) -> RunSteps:
    """Forward, backward, clipping and Adam in a Python loop, over rows that go on."""
    set_up()
    import torch
    from safetensors.torch import load_file
    from torch.nn.functional import cross_entropy

    state = load_file(Path(directory, WEIGHTS))
    vocabulary, embedding = state["embedding.weight"].shape
    body: Any = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(vocabulary, embedding)
            self.body = body(embedding, features, layers, batch_first=True)
            self.head = torch.nn.Linear(features, vocabulary)

        def forward(self, tokens: Any, carry: Any) -> Any:
            outputs, carry = self.body(self.embedding(tokens), carry)
            return self.head(outputs), carry

    model = Model()
    model.load_state_dict(state)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    tokens = torch.from_numpy(np.load(Path(directory, TEXT)).astype(np.int64))
    steps = ((len(tokens) - 1) // window) // batch_size
    starts = torch.arange(batch_size) * steps * window
    carry, done = None, 0

    def run(n: int) -> list[float]:
        nonlocal carry, done
        losses = []
        for _ in range(n):
            if done % steps == 0:
                carry = None
            places = starts[:, None] + done % steps * window + torch.arange(window + 1)[None]
            rows = tokens[places]
            logits, after = model(rows[:, :-1], carry)
            carry = tuple(a.detach() for a in after) if cell == "lstm" else after.detach()
            loss = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            losses.append(loss.detach())
            done += 1
        return [float(torch.stack(losses).mean())]

    return run
