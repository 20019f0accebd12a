"""The model of a classifier written by hand in PyTorch, and its training: the other side of epochs.py.

It is written for speed: no DataLoader, all tensors made, padded and brought to the device beforehand, time first,
fused Adam, clipping of all gradients together, one bias (the second stays zero and gets no gradient), nothing read back
within an epoch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from xlstm import batch


class Encoder:
    """Sequences as numbers: letters, case folded, by their place in the alphabet; features of mean 0, deviation 1."""

    def __init__(self, X: list[Any]) -> None:
        self.tokens = isinstance(X[0], str)
        if self.tokens:
            self.alphabet = sorted({letter for text in X for letter in text.casefold()})
            self.size = len(self.alphabet) + 1  # 0 is the unknown one
        else:
            steps = np.concatenate(X)
            self.mean, self.deviation, self.size = steps.mean(axis=0), steps.std(axis=0), steps.shape[1]

    def __call__(self, sequence: Any) -> Any:
        if self.tokens:
            known = self.alphabet
            return np.array([known.index(c) + 1 if c in known else 0 for c in sequence.casefold()], np.int64)
        return ((sequence - self.mean) / self.deviation).astype(np.float32)


class Padded:
    """Labelled rows as tensors, time first: `steps` (T, n, D) or (T, n), and the same with each row turned round."""

    def __init__(self, rows: list[Any], labels: Any, weights: Any, device: str = "cpu") -> None:
        self.device, self.host_lengths = device, np.array([len(row) for row in rows])
        self.lengths = torch.from_numpy(self.host_lengths).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        shape = (int(self.host_lengths.max()), len(rows), *rows[0].shape[1:])
        self.steps = torch.from_numpy(np.zeros(shape, rows[0].dtype))
        self.turned = torch.zeros_like(self.steps)
        for n, row in enumerate(rows):
            values = torch.from_numpy(row)
            self.steps[: len(row), n], self.turned[: len(row), n] = values, values.flip(0)
        self.steps, self.turned = self.steps.to(device), self.turned.to(device)

    def take(self, rows: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Steps, turned steps, lengths and number of each of these rows, longest first; no longer than the first."""
        chosen = torch.from_numpy(rows).to(self.device)
        T = int(self.host_lengths[rows[0]])
        return self.steps[:T].index_select(1, chosen), self.turned, self.lengths.index_select(0, chosen), chosen


class Network(nn.Module):
    """Embedding → LSTM → final valid step → dropout → linear, in the way named `packed` or `gathered`."""

    def __init__(self, encoder: Encoder, settings: dict[str, Any], outputs: int, way: str, dropout: float) -> None:
        super().__init__()
        width, H, layers = settings.get("embedding_size"), settings["hidden_size"], settings["num_layers"]
        self.way, self.dropout, self.bidirectional = way, dropout, settings["bidirectional"]
        self.embedding = nn.Embedding(encoder.size, width, padding_idx=0) if width else None
        # A layer over each direction, where PyTorch's own second direction would begin with the padding.
        apart = way == "gathered" and self.bidirectional
        if apart and (layers > 1 or encoder.tokens):
            raise ValueError("gathered: two directions are one layer of features only")
        self.layers = nn.ModuleList(
            nn.LSTM(
                width or encoder.size,
                H,
                num_layers=layers,
                bidirectional=self.bidirectional and not apart,
                dropout=dropout if layers > 1 else 0.0,
            )
            for _ in range(2 if apart else 1)
        )
        for name, parameter in self.layers.named_parameters():
            if "bias_hh" in name:
                nn.init.zeros_(parameter)
                parameter.requires_grad_(False)
        self.head = nn.Linear(H * (2 if self.bidirectional else 1), outputs)
        # In the order of our buffer.
        self.trained = [parameter for parameter in self.parameters() if parameter.requires_grad]

    def write(self, flat: Any) -> None:
        """Take all parameters from our buffer."""
        parts = torch.from_numpy(flat).to(self.trained[0].dtype).split([p.numel() for p in self.trained])
        with torch.no_grad():
            for parameter, values in zip(self.trained, parts, strict=True):
                parameter.copy_(values.view_as(parameter))

    def forward(self, padded: Padded, rows: Any, token_dropout: float = 0.0) -> torch.Tensor:
        """Logits (N, K) of these rows, longest first."""
        x, turned, lengths, chosen = padded.take(rows)
        if x.is_floating_point():
            x, turned = x.to(self.head.weight.dtype), turned.to(self.head.weight.dtype)
        if self.embedding is not None:
            if token_dropout:
                x.masked_fill_(torch.rand(x.shape, device=x.device) < token_dropout, 0)
            x = self.embedding(x)
        if self.way == "packed":
            on_host = torch.from_numpy(padded.host_lengths[rows])  # packing wants them there
            packed = nn.utils.rnn.pack_padded_sequence(x, on_host, enforce_sorted=True)
            _, (h, _) = self.layers[0](packed)
            final = torch.cat((h[-2], h[-1]), 1) if self.bidirectional else h[-1]
        else:
            T, N = x.shape[:2]
            last = (lengths - 1) * N + torch.arange(N, device=x.device)
            sides = [x, turned[:T].index_select(1, chosen)] if self.bidirectional else [x]
            finals = [
                layer(side)[0].flatten(0, 1).index_select(0, last)
                for layer, side in zip(self.layers, sides, strict=True)
            ]
            final = torch.cat(finals, 1) if self.bidirectional else finals[0]
        return self.head(functional.dropout(final, self.dropout, self.training))


def loss_of(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """As ours: Σ weight · loss / N; `weights` None where all are 1."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), weights)
    if weights is None:
        return functional.cross_entropy(logits, labels)
    return (functional.cross_entropy(logits, labels, reduction="none") * weights).mean()


def right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many."""
    found = (logits[:, 0] > 0).to(labels.dtype) if logits.shape[1] == 1 else logits.argmax(1)
    return (found == labels).sum()


class Training:
    """PyTorch's training, an epoch at a time."""

    def __init__(self, network: Network, rows: Padded, settings: dict[str, Any], seed: int) -> None:
        self.network, self.rows, self.settings = network, rows, settings
        betas = settings["beta_1"], settings["beta_2"]
        self.optimizer = torch.optim.Adam(
            network.trained, settings["learning_rate_init"], betas=betas, eps=settings["epsilon"], fused=True
        )
        self.rng = np.random.default_rng(seed)
        self.weighted = bool((rows.weights != 1).any())
        self.updates = 0
        self.total = settings["max_iter"] * -(-len(rows.labels) // settings["batch_size"])
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def epoch(self) -> None:
        network, rows, settings, optimizer = self.network, self.rows, self.settings, self.optimizer
        network.train()
        n = len(rows.labels)
        losses, hits = [], []
        for chosen in batch.shuffled(rows.host_lengths, settings["batch_size"], self.rng):
            chosen = chosen[::-1].copy()  # longest first
            numbers = torch.from_numpy(chosen).to(rows.device)
            labels = rows.labels.index_select(0, numbers)
            logits = network(rows, chosen, settings["token_dropout"])
            loss = loss_of(logits, labels, rows.weights.index_select(0, numbers) if self.weighted else None)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.trained, settings["max_grad_norm"], foreach=True)
            if settings["learning_rate"] == "cosine":
                falling = 0.5 * (1 + math.cos(math.pi * self.updates / self.total))
                optimizer.param_groups[0]["lr"] = settings["learning_rate_init"] * falling
            optimizer.step()
            self.updates += 1
            losses.append(loss.detach() * len(chosen))
            hits.append(right(logits.detach(), labels))
        sums = torch.stack((torch.stack(losses).sum(), torch.stack(hits).sum())).tolist()
        if not math.isfinite(sums[0]):
            raise FloatingPointError("training diverged")
        self.losses.append(sums[0] / n)
        self.accuracies.append(sums[1] / n)

    def score(self, rows: Padded) -> float:
        """Accuracy without dropout."""
        self.network.eval()
        order = np.argsort(-rows.host_lengths, kind="stable")
        with torch.inference_mode():
            labels = rows.labels[torch.from_numpy(order).to(rows.device)]
            return float(right(self.network(rows, order), labels)) / len(order)


def step_of(network: Network, rows: Padded) -> dict[str, Any]:
    """Loss and all gradients of all rows, longest first, in the network's dtype."""
    logits = network(rows, np.arange(len(rows.labels)))
    loss = loss_of(logits, rows.labels, rows.weights.to(logits.dtype))
    gradients = torch.autograd.grad(loss, network.trained)
    return {"loss": float(loss.detach()), "d": torch.cat([gradient.flatten() for gradient in gradients]).numpy()}
