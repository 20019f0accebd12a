"""What stands beside the classifier in `learning.py`: each is given a set and a seed, and gives its answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .public_sets import PublicSet


def standardized(data: PublicSet) -> tuple[list[Any], list[Any]]:
    """The series of both parts, each feature of mean 0 and deviation 1 on the training part."""
    steps = np.concatenate(data.train[0])
    mean, deviation = steps.mean(axis=0), steps.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)
    train, test = ([((series - mean) / scale).astype(np.float32) for series in part[0]] for part in data)
    return train, test


# ---------------------------------------------------------------- the nearest neighbour with time warping


def warped_neighbour(data: PublicSet, seed: int) -> list[str]:
    """The label of the nearest training series by dynamic time warping, all features together, without a window.

    Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition" (1978). Nothing is random.
    """
    train, test = standardized(data)
    by_length = sorted(range(len(train)), key=lambda k: len(train[k]))
    groups = [by_length[begin : begin + 256] for begin in range(0, len(train), 256)]  # of like lengths: little padding
    distances = np.empty((len(test), len(train)))
    for group in groups:
        padded = np.zeros((len(group), len(train[group[-1]]), train[0].shape[1]), np.float32)
        for row, k in zip(padded, group, strict=True):
            row[: len(train[k])] = train[k]
        ends = np.array([len(train[k]) for k in group]) - 1
        for n, series in enumerate(test):
            distances[n, group] = warped_distances(padded, ends, series)
    return [data.train[1][k] for k in np.argmin(distances, axis=1)]


def warped_distances(padded: Any, ends: Any, series: Any) -> Any:
    """From each row of `padded` (n, T, D), whose last steps are `ends`, to a series (m, D): (n,).

    best[i, j] = cost[i, j] + min(best[i - 1, j], best[i, j - 1], best[i - 1, j - 1]), all cells of i + j = k at once.
    """
    (n, T, _), m = padded.shape, len(series)
    squares = (padded**2).sum(axis=2)[:, :, None] + (series**2).sum(axis=1)
    cost = squares - 2 * padded @ series.T  # (n, T, m)
    before = two_before = np.full(
        (n, T + 1), np.inf, np.float32
    )  # of the diagonals k - 1 and k - 2; column i + 1 is row i
    two_before = two_before.copy()
    two_before[:, 0] = 0  # where a path begins
    found = np.empty(n, np.float32)
    for k in range(T + m - 1):
        i = np.arange(max(0, k - m + 1), min(T, k + 1))
        now = np.full((n, T + 1), np.inf, np.float32)
        cheapest = np.minimum(np.minimum(before[:, i], before[:, i + 1]), two_before[:, i])
        now[:, i + 1] = cost[:, i, k - i] + cheapest
        arrived = ends == k - m + 1  # here these rows meet the last step of the series
        found[arrived] = now[arrived, ends[arrived] + 1]
        before, two_before = now, before
    return found


# ---------------------------------------------------------------- MiniRocket


def minirocket(data: PublicSet, seed: int) -> list[str]:
    """aeon's MiniRocket with its ridge classifier; what is shorter than the longest series ends in zeros, once scaled.

    Dempster, Schmidt and Webb, "MiniRocket: A Very Fast (Almost) Deterministic Transform for Time Series
    Classification" (2021). It needs aeon with all that it depends on, and series of nine steps.
    """
    from aeon.classification.convolution_based import MiniRocketClassifier

    train, test = standardized(data)
    longest = max(map(len, [*train, *test]))

    def padded(part: list[Any]) -> Any:  # (n, features, time)
        return np.stack([np.pad(series, ((0, longest - len(series)), (0, 0))).T for series in part])

    classifier = MiniRocketClassifier(random_state=seed).fit(padded(train), np.array(data.train[1]))
    return [str(label) for label in classifier.predict(padded(test))]


# ---------------------------------------------------------------- the same network in PyTorch


def torch_twin(data: PublicSet, seed: int) -> list[str]:
    """The classifier's default written in PyTorch: one LSTM, read by its last valid step beside the maximum, and a
    linear head; the same start, batches drawn at random, as many updates by Adam, cosine and clipping."""
    import torch

    from xlstm import SequenceClassifier
    from xlstm.batch import size_for
    from xlstm.train import epochs_for

    from .torch_training import Encoder

    torch.manual_seed(seed)
    settings = SequenceClassifier().get_params()
    encoder, classes = Encoder(data.train[0]), sorted(set(data.train[1]))
    if not encoder.tokens:
        encoder.deviation = np.where(encoder.deviation > 0, encoder.deviation, 1)
    train, test = ([torch.from_numpy(encoder(row)) for row in part[0]] for part in data)
    labels = torch.tensor([classes.index(label) for label in data.train[1]])
    lstm = torch.nn.LSTM(encoder.size, settings["hidden_size"], batch_first=True)
    head = torch.nn.Linear(2 * settings["hidden_size"], len(classes))
    for name, parameter in lstm.named_parameters():
        start(name, parameter)
    torch.nn.init.xavier_uniform_(head.weight)
    torch.nn.init.zeros_(head.bias)
    parameters = [*lstm.parameters(), *head.parameters()]

    def logits(rows: list[Any]) -> Any:
        x = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if encoder.tokens:
            x = torch.nn.functional.one_hot(x, encoder.size).float()
        lengths = torch.tensor([len(row) for row in rows])
        h = lstm(x)[0]  # (N, T, H); in one direction the padding after a row's end changes nothing before it
        last = h[torch.arange(len(rows)), lengths - 1]
        beyond = torch.arange(h.shape[1])[None, :] >= lengths[:, None]
        return head(torch.cat([last, h.masked_fill(beyond[:, :, None], -math.inf).amax(dim=1)], dim=1))

    size = size_for(len(train), settings["batch_size"])
    batches = math.ceil(len(train) / size)
    updates = epochs_for(len(train), size) * batches
    optimizer = torch.optim.Adam(parameters, lr=settings["learning_rate_init"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 * (1 + math.cos(math.pi * t / updates)))
    for _ in range(updates // batches):
        for rows in torch.randperm(len(train)).split(size):
            loss = torch.nn.functional.cross_entropy(logits([train[k] for k in rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings["max_grad_norm"])
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        found = [logits(test[begin : begin + 256]).argmax(dim=1) for begin in range(0, len(test), 256)]
    return [classes[k] for k in torch.cat(found)]


def start(name: str, parameter: Any) -> None:
    """Recurrent weights orthogonal, input weights by Glorot and Bengio (2010), the forget gate open."""
    import torch

    for k, gate in enumerate(parameter.data.chunk(4)):
        if "bias" in name:
            torch.nn.init.constant_(gate, float(k == 1 and "ih" in name))
        else:
            (torch.nn.init.orthogonal_ if "hh" in name else torch.nn.init.xavier_uniform_)(gate)


BESIDE: dict[str, Callable[[PublicSet, int], list[str]]] = {
    "1-NN DTW": warped_neighbour,
    "MiniRocket": minirocket,
    "torch twin": torch_twin,
}
"""By the name that the table has for it."""


def can_read(name: str, data: PublicSet) -> bool:
    """Neither of the two for series reads texts, and MiniRocket nothing of fewer than nine steps."""
    if name == "torch twin":
        return True
    return not data.texts and (name != "MiniRocket" or max(map(len, data.train[0])) >= 9)
