"""The classifier that users type: one of K classes for a sequence, or several labels at once.

More than half of this file is its public docstring.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from .. import backends, batchwise, labelsets, sources
from ..encode import TokenEncoder
from ..fitted import Fitted
from ..params import Parameters
from ..registry import ESTIMATORS
from ..seeds import own_generator
from ..tasks import Classes, SeveralLabels, Task
from . import moved
from .constraints import ClassWeight, Constraint
from .declared import LabelEstimator

Self = TypeVar("Self", bound="SequenceClassifier")


@ESTIMATORS.register("SequenceClassifier")
@dataclass(eq=False, repr=False)
class SequenceClassifier(LabelEstimator):
    """A recurrent network that reads a whole sequence and answers once: which of K classes, or which labels.

    Sequences are strings, lists of tokens, lists of arrays (time_i, D), or arrays (n, time, D) or (n, time). Lengths
    may differ. Arrays may lie on a GPU, CuPy's or others': they are not copied to the host, and probabilities and
    logits come back there. Two classes have one logit, more have a softmax; the loss is the cross-entropy.

    Several labels at once are an indicator matrix y (n, K), 1 where a sequence has the label of a column, or a list of
    the labels of each sequence, which may be empty; where every sequence has one, pass sets. Each label has a sigmoid,
    and the loss is the mean of their binary cross-entropies. `predict` gives the form that y had; a sequence has a
    label where its probability is above the label's threshold, and `score` is the share of the sequences all of whose
    labels are right: subset accuracy.

    Features that have names, as the columns of data frames and the fields of arrays, are matched by name: within X, and
    with those of the training ever after. A missing or unknown name is an error. Data that may have been meant in
    another way than they are understood are trained on with an `xlstm.AmbiguousDataWarning`; of batches the first is
    looked at, its X alone.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn", "gru_reset_before"}
        The recurrent cell, or another that was registered (`xlstm.cells`). The last is the reset-before GRU: its reset
        gate acts before the recurrent product.
    hidden_size : int
        H, the size of the state, of each direction.
    num_layers : int
        Stacked layers.
    bidirectional : bool
        Read each sequence in both directions; the readout then sees what each of them gives, side by side.
    dropout : float
        Fraction set to zero in training, between two layers and before the head.
    token_dropout : float
        Fraction of the tokens that training replaces by the unknown one, so that no answer hangs on a single token. Of
        no effect on numeric sequences.
    embedding_size : int or None
        Size of a learned embedding of tokens; None feeds them one-hot. Of no effect on numeric sequences.
    encoding : {"auto", "tokens"}
        "auto": numbers are series. "tokens": integers are tokens.
    fold_case : bool
        Whether upper and lower case of tokens are one (`str.casefold`). They are by default: in a sentence case says
        where a word stands rather than what it is, and what people type differs from what was trained on. Set it to
        False where case means something, as in formulas, codes or programs. A string is folded before it is cut into
        characters, so that ß is ss as in words.
    standardize : bool
        Whether numeric features are brought to mean 0 and standard deviation 1, as measured on the training part.
    init : {"orthogonal", "pytorch"}
        The start of the weights: see `LSTM`.
    solver : {"adam", "adamw", "sgd"}
        See `xlstm.optim.Optimizer`, also for `alpha` (penalty on squared weights), `momentum`, `beta_1`, `beta_2` and
        `epsilon`.
    learning_rate_init : float
        The highest learning rate: that after the warm-up.
    learning_rate : {"constant", "cosine"}
        Whether the learning rate stays there, or falls to 0 along half a cosine over the epochs of `fit`.
    warmup : int
        Number of updates over which the learning rate rises linearly.
    batch_size : int or "auto"
        "auto" is a 128th of the rows, from 32 to 256. Where one long sequence would pad the others of its batch, or a
        batch has more than a million steps, it is computed in pieces, which make one update.
    max_iter : int or None
        Epochs. None stands for a budget of updates: as many epochs as make 1000 of them, from 20 to 400.
    max_grad_norm : float or None
        The norm of all gradients together is clipped to it; None never clips.
    early_stopping : bool
        Set `validation_fraction` of the rows aside, in the proportion of their classes; stop when accuracy there has
        not risen by `tol` for `n_iter_no_change` epochs, and return to the best weights. Loss and accuracy there are
        weighted as the training is, by `sample_weight` and `class_weight`. The rows are remembered, over `partial_fit`,
        files and copies too, by fingerprints of 8 bytes.
    warm_start : bool
        Whether `fit` goes on from the weights of the last one. Only settings of the training may change in between:
        those that made the model (`kernels`, `fold_case`, `normalize` and `standardize` among them) are an error.
        With early stopping both parts stay apart: rows that were set aside are set aside again, rows that were trained
        on train again, in whatever order they come, and new rows are split (too few to split, they train). A new part
        is drawn of all rows where none was set aside before, or where nothing would be left to validate or to train on.
    dtype : {"float32", "float64"}
        Of all computation.
    device : str or None
        "auto", "cpu", "cuda", "cuda:N". None is the environment variable XLSTM_DEVICE, else "auto": the GPU on which X
        lies, or for X on the host whatever suits the size of the work.
    kernels : {"auto", "reference", "compiled", "fused", "cudnn"}
        Which implementation of the layers: see `LSTM`. "compiled", "fused" and "cudnn" are errors where there is none.
    random_state : int, generator or None
        Where the weights, the order of the rows and the dropout masks are drawn from. None is another start each time:
        unlike in scikit-learn `numpy.random.seed` is of no effect, for its generator is not used. A model that goes on
        draws from where it was.
    verbose : bool
        Whether to write a line an epoch to stderr.
    readout : {"final", "mean", "max", "attention", "final+max", "final+mean+max"}
        What the head sees of a sequence: the state after its last valid step, or the mean, the largest value or an
        attention over the outputs of all valid steps; or several of these side by side: see `xlstm.readout`. The
        default, "final+max", sees both how a sequence ends and what stood anywhere in it; "final" alone forgets what
        is long past, and costs less.
    split : {"characters", "words"}
        What the tokens of a string are: its characters, or its words, which white space separates. Of no effect on
        lists of tokens and on numbers.
    precision : {"highest", "high", "bfloat16", "float16"}
        What the products of the layers may be computed with on a CUDA GPU: see `LSTM`. A permission, not a demand.
    missing : {"error", "mask"}
        Whether NaN in a series is an error, or a number that is missing: the model then reads the mean of the training
        in its place, and beside each feature whether it is there, 1 or 0. Infinity is an error always. Of no effect on
        tokens.
    normalize : {"NFC", "NFD", "NFKC", "NFKD"} or None
        The normal form of Unicode into which strings and words are brought (`unicodedata.normalize`), in training and
        ever after: by default é is one letter, whether it was written as one character or as e with an accent. "NFKC"
        and "NFKD" also make one of letters of other widths and shapes; None takes texts as they stand. A string is
        brought into it before it is cut, so that its characters may be more or fewer.
    class_weight : dict, "balanced" or None
        A weight for each class; "balanced" makes them inverse to their frequency. Of several labels, how many times as
        much a sequence counts in the loss of a label that it has, as one that does not have it; "balanced" gives both
        sides of each label the same sum. The mean weight of each label stays 1. A dict may name classes that y does not
        hold, if it names all that y holds. In `partial_fit` a dict counts as given, and "balanced" is an error.

    Attributes
    ----------
    classes_ : (K,)
        The labels, sorted; of an indicator matrix the numbers of its columns, or their names in a frame.
    thresholds_ : (K,)
        Of several labels, the probability above which a sequence has a label: 1/2 until `set_thresholds` or
        `tune_thresholds` say otherwise. Files and warm starts keep them.
    n_iter_ : int
        Epochs run by the last `fit`, and since then by `partial_fit`.
    loss_ : float
        The last of `loss_curve_`.
    loss_curve_, accuracy_curve_ : list of float
        Of each epoch, on the training part, in training mode. Several labels have `log_loss_curve_` (the loss without
        the weights of rows), `f1_micro_curve_` and `subset_accuracy_curve_` in place of the accuracy.
    history_ : dict of str to list of float
        All that each epoch gave by name, as a table: "loss", "accuracy", and with a validation part "validation_loss"
        and "validation_accuracy", NaN for epochs of `partial_fit`, which has none. Scores are not weighted, but for
        "validation_weighted_accuracy", which is there where rows or classes have weights.
    validation_loss_curve_, validation_scores_ : list of float
        With early stopping or `fit(validation=...)`: loss and accuracy of each epoch on the validation part, weighted
        as in training.
    best_validation_score_ : float
        The highest accuracy there. Of several labels, whose rows are set aside at random, the
        scores are log losses, and the best is the lowest.
    n_features_in_ : int
        Columns of a two-dimensional X, else the features of a step; for tokens the size of the vocabulary.
    device_, kernels_ : str
        What did the work.
    progress : callable or None
        Called after each epoch with its number, the number of epochs and the history, in place of the lines of
        `verbose`. No parameter: copies by scikit-learn and files have none.

    Notes
    -----
    Ctrl-C ends a `fit` early: the model of its last whole epoch is kept, with early stopping that of the best one, and
    the warning `xlstm.InterruptedFit` says so. A second one in the same run – of a script, of a cell of a notebook, of
    a line at the prompt – is raised as KeyboardInterrupt and leaves the estimator as it was: so a grid search, which
    goes on after the first, can be stopped. Before the first epoch has ended, the first is raised too.

    Examples
    --------
    >>> import xlstm
    >>> X, y = ["aab", "ba", "abab", "bbba", "b", "aa"], ["b", "a", "b", "a", "b", "a"]  # the last letter
    >>> clf = xlstm.SequenceClassifier(hidden_size=8, max_iter=100, learning_rate_init=0.02, random_state=0)
    >>> clf.fit(X, y).predict(["aaaaab", "ba"]).tolist()
    ['b', 'a']
    """

    _estimator_type = "classifier"
    tasks = (Classes, SeveralLabels)
    constraints: ClassVar[dict[str, Constraint]] = {**LabelEstimator.constraints, "class_weight": ClassWeight()}

    class_weight: Any = None

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags(multi_label=True)
        return tags

    def attributes_of(self, fitted: Any) -> dict[str, Any]:
        """See the base."""
        found = {**super().attributes_of(fitted), "classes_": fitted.task.classes}
        if isinstance(fitted.task, SeveralLabels):
            found["thresholds_"] = fitted.task.thresholds
        return found

    def _learn(self, y: Any, rows: int, declared: Any) -> tuple[Task, Any]:
        one, *several = self.tasks  # a subclass may have others, or a single one
        return (several[0] if several and labelsets.are_several(y) else one).learn(y, rows, declared)

    def set_thresholds(self, thresholds: Any) -> SequenceClassifier:
        """Say above which probability a sequence has a label; for a model of several labels.

        Parameters
        ----------
        thresholds
            One number for all labels, (K,) numbers in the order of `classes_`, or a dict with those of some labels.

        Raises
        ------
        ValueError
            If one is not above 0 and below 1, if a label is unknown, or if the model gives one class for each sequence.
        """
        return self._with_thresholds(lambda fitted, task: task.with_thresholds(thresholds))

    def tune_thresholds(self, X: Any, y: Any = None) -> SequenceClassifier:
        """Set the thresholds to those with which each label has its highest F1 on these sequences.

        Take rows that were not trained on: on others the probabilities are too good. A label that no row of y has keeps
        its threshold.

        Parameters
        ----------
        X, y
            As for `fit`.

        Raises
        ------
        ValueError
            As `score`, or if the model gives one class for each sequence.
        """

        def tuned(fitted: Fitted, task: SeveralLabels) -> SeveralLabels:
            batches, reading = sources.labelled(X, y), self.reading()
            if batches is None:
                outputs, targets, _ = fitted.beside(X, y, None, reading)
            else:
                outputs, targets, _ = batchwise.beside(fitted, batches, reading)
            return task.tuned(outputs, targets)

        return self._with_thresholds(tuned)

    def _with_thresholds(self, make: Callable[[Fitted, SeveralLabels], SeveralLabels]) -> SequenceClassifier:
        """Put another task in the place of the old one; what was made of it, such as streams, keeps that."""
        fitted = self.fitted_state()
        if not isinstance(fitted.task, SeveralLabels):
            raise ValueError("this model gives one class for each sequence; thresholds belong to several labels.")
        other, trainer = copy.copy(fitted), copy.copy(fitted.trainer)
        trainer.task = make(fitted, fitted.task)
        other.trainer = trainer
        self.take_over(other)
        return self

    @classmethod
    def from_torch(
        cls: type[Self],
        recurrent: Any,
        linear: Any,
        *,
        classes: Any,
        embedding: Any = None,
        vocabulary: Any = None,
        unknown: int | None = None,
        mean: Any = None,
        scale: Any = None,
        readout: str = "final",
        split: str = "characters",
        fold_case: bool = False,
        normalize: str | None = None,
        prefix: str = "",
        dtype: Any = None,
        device: str | None = None,
        kernels: str = "auto",
        random_state: Any = None,
    ) -> Self:
        """A fitted classifier of what PyTorch trained: recurrent layers and a linear head that reads their readout.

        It predicts, saves, streams and prepares as any other, and `partial_fit` trains it further.

        Parameters
        ----------
        recurrent
            A torch.nn.LSTM, GRU or RNN, its state_dict or a file of it, as `LSTM.from_torch` takes them; or a layer of
            xlstm, as `LSTM.from_keras` makes them.
        linear
            A torch.nn.Linear, or its state_dict: weight (K, F) and maybe bias (K,). Or, where `recurrent` is the
            state_dict of a larger module or its file, where the head stands there: "fc". Of two classes it may have one
            row, the logit of the second.
        classes
            (K,) labels, in the order of the rows of `linear`; `classes_` has them sorted.
        embedding
            For tokens: a torch.nn.Embedding, its state_dict, or an array (V, D). None feeds tokens one-hot.
        vocabulary
            For tokens: the token of each row of the embedding, or column of the first layer, None for a row that is of
            no token; or a mapping from tokens to rows. Characters, words or integers.
        unknown
            The row of the embedding for tokens that the vocabulary does not hold. None is the zero vector.
        mean, scale
            For numbers: (D,) what is subtracted of each feature, and what it is then divided by. None is 0, and 1.
        readout
            "final", "mean", "max", "final+max" or "final+mean+max": what the head reads, of valid steps alone. "final"
            is PyTorch's h_n of the last layer for packed sequences, both directions side by side. With two directions
            that is not `outputs[n, lengths[n] - 1]`, where the second has read one step alone; no readout here is.
        split, fold_case, normalize, device, kernels, random_state
            See the class.
        prefix, dtype
            Of `recurrent`: see `LSTM.from_torch`.

        Raises
        ------
        ValueError
            If parts do not fit each other, or as `LSTM.from_torch`: what it is, is named.
        TypeError
            If a part is of another type.
        """
        found = moved.parts(
            recurrent, linear, classes, embedding, vocabulary, unknown, mean, scale, readout, split, fold_case,
            normalize, dtype, prefix,
        )  # fmt: skip
        how = {"device": device, "kernels": kernels, "random_state": random_state}
        return cls(**found.settings, **how)._made_of(found)

    def _made_of(self: Self, found: moved.Parts) -> Self:
        """Take over a model of parts that were trained elsewhere."""
        self.check_parameters()
        task, encoder = Classes(found.classes), found.encoder
        task.follow(self)
        architecture = self.architecture_for(encoder.width, isinstance(encoder, TokenEncoder), task)
        backend = backends.select(self.device, "auto", architecture.flops_per_step(), None, self.kernels)
        fitted = self._new(task, encoder, architecture, backend, None, None, own_generator(self.random_state))
        host = Parameters(architecture.shapes(), fitted.model.read())
        for name, values in found.values.items():
            host[name] = values
        fitted.model.write(host.flat)
        self.take_over(fitted)
        return self

    def decision_function(self, X: Any) -> Any:
        """Logits: (n, K), or for two classes (n,), above 0 where the second class is more probable.

        Of several labels (n, K), above 0 where the probability of a label is above 1/2.
        """
        return self._made("decision_function", X)

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, (n, K), in the order of `classes_`; of several labels they do not sum to 1."""
        return self._made("predict_proba", X)

    def predict_log_proba(self, X: Any) -> Any:
        """Its logarithm, (n, K), also where the probability is too small for a number: computed from the logits."""
        return self._made("predict_log_proba", X)
