"""The regressor's model written by hand in PyTorch, and its training: the other side of regression.py.

The same architecture, start, loss, optimiser, clipping, batch and number of epochs; the weights are drawn by PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


class Network(nn.Module):
    """LSTM → the final valid step beside the maximum over all valid ones → linear."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(size, hidden, batch_first=True), nn.Linear(2 * hidden, 1)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        for name, values in self.lstm.named_parameters():
            gates = values.detach().view(4, hidden, -1)
            if "weight_hh" in name:
                for gate in gates:
                    nn.init.orthogonal_(gate)
            elif "weight_ih" in name:
                for gate in gates:
                    nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(values)
        self.lstm.bias_ih_l0.detach()[hidden : 2 * hidden] = 1  # the forget gate
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, rows: list[torch.Tensor]) -> torch.Tensor:
        """(N,) from rows (time_i, D).

        Padded and not packed, which is several times as fast here: what stands after a row's end comes after all that
        is read of it.
        """
        lengths = torch.tensor([len(row) for row in rows])
        outputs, _ = self.lstm(nn.utils.rnn.pad_sequence(rows, batch_first=True))  # (N, T, H)
        final = outputs[torch.arange(len(rows)), lengths - 1]
        valid = torch.arange(outputs.shape[1])[None, :, None] < lengths[:, None, None]
        largest = outputs.masked_fill(~valid, -torch.inf).amax(dim=1)
        return self.head(torch.cat([final, largest], dim=1))[:, 0]


def fit_and_predict(
    rows: list[Any], y: Any, test: list[Any], seed: int, hidden: int, rate: float, batch_size: int, epochs: int
) -> Any:
    """The answers for the test rows, in the unit of y; rows are (time_i, D) float32, scaled already."""
    torch.manual_seed(seed)
    network = Network(rows[0].shape[1], hidden)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=rate)
    center, scale = y.mean(), y.std()
    targets = torch.from_numpy(((y - center) / scale).astype(np.float32))
    steps = [torch.from_numpy(row) for row in rows]
    for _ in range(epochs):
        for chosen in torch.randperm(len(steps)).split(batch_size):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(network([steps[k] for k in chosen]), targets[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
    with torch.no_grad():
        parts = [network([torch.from_numpy(row) for row in test[k : k + 256]]) for k in range(0, len(test), 256)]
        return torch.cat(parts).numpy().astype(np.float64) * scale + center
