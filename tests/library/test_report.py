"""The report: its numbers are scikit-learn's, its page is well formed, and no text of the data is markup in it."""

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import inspection, measures
from xlstm.reports import charts, page

from ..peers import peer
from .command import run, write_rows
from .test_cli_data import LONG, QUICK, recordings, up, write_long

__all__ = ["run"]  # a fixture

RNG = np.random.default_rng(0)
SETTINGS: dict[str, Any] = {"hidden_size": 4, "max_iter": 3, "random_state": 0, "device": "cpu"}
TEXTS = ["".join(RNG.choice([*"abc "], size=RNG.integers(2, 9))) + "a" for _ in range(60)]
SERIES = [RNG.standard_normal((int(length), 3)) for length in RNG.integers(3, 12, 60)]
SIDES = ["yes" if text[0] in "ab" else "no" for text in TEXTS]
KINDS = [["low", "middle", "high"][int(x[:, 0].mean() > -0.1) + int(x[:, 0].mean() > 0.2)] for x in SERIES]
TAGS = [["B" if letter == "b" else "O" if letter != " " else "-" for letter in text] for text in TEXTS]
TOPICS = [[letter for letter in "abc" if letter in text[:4]] for text in TEXTS]
HEIGHTS = np.array([[x[:, 0].sum(), 100 * x[:, 1].max()] for x in SERIES])
VOID = {"meta", "link"}


class Read(HTMLParser):
    """A page as a browser would take it apart: raises where elements are not nested as they should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.words: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
            assert tag == "td" or dict(attrs)["scope"] in ("row", "col")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            assert self._caption
            assert len({len(row) for row in self._rows}) == 1
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data

    def table(self, beginning: str) -> list[list[str]]:
        """The rows of the table whose caption begins so, its header first where it has one."""
        (found,) = [rows for caption, rows in self.tables.items() if caption.startswith(beginning)]
        return found

    def text(self) -> str:
        return "".join(self.words)


def read(report: xlstm.reports.Report) -> Read:
    """The page, after what every page has to be."""
    found = Read(report.html)
    assert found.headings[0] == 1
    assert all(later - before <= 1 for before, later in zip(found.headings, found.headings[1:], strict=False))
    names = [tag for tag, _ in found.tags]
    assert (names.count("h1"), names.count("title"), names.count("main")) == (1, 1, 1)
    assert not {"script", "img", "iframe", "object"} & set(names)
    assert dict(found.tags)["html"]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for tag, attrs in found.tags:
        assert not any(name.startswith("on") for name in attrs)
        address = attrs.get("href", attrs.get("src")) or "#answers"
        assert address == "data:," or address[1:] in ids
        if tag == "svg" and attrs.get("aria-hidden") is None:
            assert attrs["role"] == "img"
            assert len(attrs["aria-label"] or "") > 20
    assert "nan" not in re.findall(r"[a-z]+", report.html)
    return found


@pytest.fixture(scope="module")
def two():
    return xlstm.SequenceClassifier(early_stopping=True, **SETTINGS).fit(TEXTS, SIDES)


@pytest.fixture(scope="module")
def three():
    return xlstm.SequenceClassifier(**SETTINGS).fit(SERIES, KINDS)


@pytest.fixture(scope="module")
def labeler():
    return xlstm.SequenceLabeler(ignore="-", **SETTINGS).fit(TEXTS, TAGS)


@pytest.fixture(scope="module")
def several():
    return xlstm.SequenceClassifier(**SETTINGS).fit(TEXTS, TOPICS)


@pytest.fixture(scope="module")
def regressor():
    return xlstm.SequenceRegressor(**SETTINGS).fit(SERIES, HEIGHTS)


def shown(value: str) -> float:
    """A number as the page has it."""
    value = value.replace("−", "-").replace(",", "").replace("–", "nan")
    return float(value[:-1]) / 100 if value.endswith("%") else float(value)


# ---------------------------------------------------------------- measures


@pytest.mark.parametrize("of", ["two", "three"])
def test_the_measures_of_classes_are_those_of_scikit_learn(of, request):
    metrics, model = peer("sklearn.metrics"), request.getfixturevalue(of)
    X, y = (TEXTS, SIDES) if of == "two" else (SERIES, KINDS)
    X, y = X[:40], y[:40]
    made = xlstm.report(model, X, y)
    said, p, labels = model.predict(X), model.predict_proba(X), model.classes_.tolist()
    found = made.measures
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, said))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, said))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, p, labels=labels), rel=1e-5)
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert found["accuracy_of_the_most_frequent"] == max(map(y.count, labels)) / 40
    precision, recall, f1, n = metrics.precision_recall_fscore_support(y, said, labels=labels, zero_division=np.nan)
    areas = [metrics.roc_auc_score(np.array(y) == label, p[:, k]) for k, label in enumerate(labels)]
    if of == "two":
        assert found["roc_auc"] == pytest.approx(areas[1], abs=1e-6)
    html = read(made)
    for k, (label, row) in enumerate(zip(labels, html.table("Each class")[1:], strict=True)):
        each = found["classes"][label]
        assert [each["precision"], each["recall"]] == pytest.approx([precision[k], recall[k]], nan_ok=True)
        assert [each["n"], each["roc_auc"]] == pytest.approx([n[k], areas[k]], abs=1e-6)
        assert each["f1"] == pytest.approx(np.nan_to_num(f1[k]))
        expected = [n[k], precision[k], recall[k], each["f1"], areas[k]]
        assert row[0] == label
        assert list(map(shown, row[1:])) == pytest.approx(expected, abs=6e-4, nan_ok=True)
    table = metrics.confusion_matrix(y, said, labels=labels)
    assert [[int(cell) for cell in row[1:]] for row in html.table("Confusion")[1:]] == table.tolist()
    assert f"{int((said == y).sum())} of 40 sequences are answered right" in html.text()


def test_of_a_labeler_the_steps_whose_labels_count(labeler):
    metrics = peer("sklearn.metrics")
    made = xlstm.report(labeler, TEXTS, TAGS)
    pairs = [
        (true, answer)
        for row, answers in zip(TAGS, labeler.predict(TEXTS), strict=True)
        for true, answer in zip(row, answers.tolist(), strict=True)
        if true != "-"
    ]
    true, said = zip(*pairs, strict=True)
    assert made.measures["n_steps"] == len(true)
    assert made.measures["accuracy"] == pytest.approx(labeler.score(TEXTS, TAGS))
    assert made.measures["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(true, said))
    html = read(made)
    table = metrics.confusion_matrix(true, said, labels=labeler.classes_)
    assert [[int(cell.replace(",", "")) for cell in row[1:]] for row in html.table("Confusion")[1:]] == table.tolist()
    rows = next(rows for caption, rows in html.tables.items() if "sequences with mistakes" in caption)[1:]
    assert 0 < len(rows) <= 20
    names = {f"row\u00a0{k}": k for k in range(60)}
    losses = []
    for name, text, wrong, step, right, answer, probability in rows:
        k, place = names[name], int(re.match(r"\d+", step)[0])
        p = labeler.predict_proba([TEXTS[k]])[0]
        assert (text, right, answer) == (TEXTS[k], TAGS[k][place], labeler.predict([TEXTS[k]])[0][place])
        assert float(probability) == pytest.approx(p[place].max(), abs=6e-4)
        counts = [(t, label) for t, label in enumerate(TAGS[k]) if label != "-"]
        bad = sum(labeler.predict([TEXTS[k]])[0][t] != label for t, label in counts)
        assert wrong == f"{bad} of {len(counts)}"
        of_right = {t: p[t, labeler.classes_.tolist().index(label)] for t, label in counts}
        least = min(of_right[t] for t, label in counts if labeler.predict([TEXTS[k]])[0][t] != label)
        assert of_right[place] == pytest.approx(least, rel=1e-4)
        losses.append(-np.mean(np.log(list(of_right.values()))))
    assert losses == pytest.approx(sorted(losses, reverse=True), rel=1e-4)


def test_the_measures_of_several_labels(several):
    metrics = peer("sklearn.metrics")
    made = xlstm.report(several, TEXTS, TOPICS)
    names = several.classes_.tolist()
    true = np.array([[name in row for name in names] for row in TOPICS])
    said = np.array([[name in row for name in names] for row in several.predict(TEXTS)])
    p, found = several.predict_proba(TEXTS), made.measures
    for average in ("micro", "macro"):
        f1 = metrics.f1_score(true, said, average=average, zero_division=1.0)
        assert found[f"f1_{average}"] == pytest.approx(f1)
    assert found["subset_accuracy"] == pytest.approx(metrics.accuracy_score(true, said))
    assert found["hamming_loss"] == pytest.approx(metrics.hamming_loss(true, said))
    assert found["log_loss"] == pytest.approx(
        np.mean([metrics.log_loss(true[:, k], p[:, k]) for k in range(3)]), rel=1e-5
    )
    for row, k in zip(read(made).table("Each label")[1:], range(3), strict=True):
        area = metrics.roc_auc_score(true[:, k], p[:, k])
        assert found["labels"][names[k]]["roc_auc"] == pytest.approx(area, abs=1e-6)
        recall = metrics.recall_score(true[:, k], said[:, k])
        assert [row[0], shown(row[1]), shown(row[4])] == [names[k], true[:, k].sum(), pytest.approx(recall, abs=6e-4)]


def test_a_number_has_the_name_of_its_series() -> None:
    pandas = peer("pandas")
    one = xlstm.SequenceRegressor(**SETTINGS).fit(SERIES, HEIGHTS[:, 0])
    named = pandas.Series(HEIGHTS[:, 0], name="height <m>")
    assert read(xlstm.report(one, SERIES, named)).table("R²")[1][0] == "height <m>"
    for nameless in (HEIGHTS[:, 0], pandas.Series(HEIGHTS[:, 0])):
        assert read(xlstm.report(one, SERIES, nameless)).table("R²")[1][0] == "y"


def test_the_measures_of_numbers(regressor):
    metrics = peer("sklearn.metrics")
    made = xlstm.report(regressor, SERIES, HEIGHTS, names=[f"run {k}" for k in range(60)])
    answers, found = regressor.predict(SERIES), made.measures
    assert found["r2"] == pytest.approx(metrics.r2_score(HEIGHTS, answers), rel=1e-5)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(HEIGHTS, answers), rel=1e-5)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(HEIGHTS, answers), rel=1e-5)
    assert found["max_error"] == pytest.approx(np.abs(answers - HEIGHTS).max(), rel=1e-5)
    html = read(made)
    for k, row in enumerate(html.table("R²")[1:]):
        y, said = HEIGHTS[:, k], answers[:, k]
        each = (
            metrics.r2_score(y, said),
            metrics.mean_absolute_error(y, said),
            metrics.root_mean_squared_error(y, said),
        )
        each = (*each, metrics.median_absolute_error(y, said), metrics.max_error(y, said))
        assert list(map(shown, row[1:])) == pytest.approx(each, rel=1e-3)
    worst = html.table("The 20 worst")[1:]
    away = np.abs(answers - HEIGHTS) / HEIGHTS.std(axis=0)
    order = np.argsort(-away.max(axis=1))
    assert [row[0] for row in worst] == [f"run {k}" for k in order[:20]]
    assert [shown(row[-1]) for row in worst] == pytest.approx(away.max(axis=1)[order[:20]], rel=6e-3)
    spread = html.table("What is to be answered")[1:]
    for k, row in enumerate(spread):
        y = HEIGHTS[:, k]
        each = (y.mean(), y.std(), *np.quantile(y, [0, 0.25, 0.5, 0.75, 1]))
        assert list(map(shown, row[1:])) == pytest.approx(each, rel=1e-3)


def test_several_quantiles_are_measured_each():
    metrics, y = peer("sklearn.metrics"), HEIGHTS[:, 0]
    levels = [0.1, 0.5, 0.9]
    model = xlstm.SequenceRegressor(loss="quantile", quantile=levels, **SETTINGS).fit(SERIES, y)
    made, answers = xlstm.report(model, SERIES, y), model.predict(SERIES)
    for k, level in enumerate(levels):
        each = made.measures["numbers"][f"quantile {level}"]
        loss = metrics.mean_pinball_loss(y, answers[:, k], alpha=level)
        assert each["pinball"] == pytest.approx(loss, rel=1e-5)
        assert each["coverage"] == pytest.approx((answers[:, k] >= y).mean())
    pictures = [attrs["aria-label"] or "" for tag, attrs in read(made).tags if attrs.get("role") == "img"]
    assert len([told for told in pictures if "of each epoch" in told]) == 1  # the error is the loss
    assert made.measures["pinball"] == pytest.approx(
        np.mean([each["pinball"] for each in made.measures["numbers"].values()])
    )
    read(made)


def test_counts_by_class_and_log_loss_of_nothing():
    found = measures.by_class(np.array([1, 0]), np.array([2, 0]), np.array([1, 0]))
    assert (found.precision[0], found.recall[0], found.f1[0]) == (0.5, 1.0, pytest.approx(2 / 3))
    assert np.isnan([found.precision[1], found.recall[1], found.f1[1]]).all()
    assert measures.log_loss(np.log([[0.25, 0.75]]), np.array([0])) == pytest.approx(np.log(4))


# ---------------------------------------------------------------- what stands in it


def test_the_worst_mistakes_by_name(two):
    made = xlstm.report(two, TEXTS, SIDES, names=[f"note {k}" for k in range(60)])
    p, labels = two.predict_proba(TEXTS), two.classes_.tolist()
    of_truth = np.array([p[k, labels.index(side)] for k, side in enumerate(SIDES)])
    wrong = np.flatnonzero(two.predict(TEXTS) != SIDES)
    expected = wrong[np.argsort(of_truth[wrong], kind="stable")][:20]
    html = read(made)
    (rows,) = [rows[1:] for caption, rows in html.tables.items() if "the least likely truth first" in caption]
    listed = [int(row[0].removeprefix("note ")) for row in rows]  # texts that are alike may stand in either order
    assert set(listed) <= set(wrong.tolist())
    assert of_truth[listed] == pytest.approx(of_truth[expected], rel=1e-5)
    assert [row[1] for row in rows] == [TEXTS[k] for k in listed]
    assert [row[2] for row in rows] == [SIDES[k] for k in listed]
    assert [float(row[5]) for row in rows] == pytest.approx(of_truth[expected], abs=6e-4)
    k = listed[0]
    said = str(two.predict([TEXTS[k]])[0])
    counted = inspection.importance(two, TEXTS[k], target=said)
    most = int(np.argmax(counted))
    if counted[most] > 0:
        assert (
            f"For it: step {most} “{TEXTS[k][most].replace(' ', '␣')}” ({page.number(counted[most], 2)})" in html.text()
        )


def test_learning_curves_settings_and_data(two):
    html = read(xlstm.report(two, [*TEXTS, "zzz"], [*SIDES, "no"]))
    labels = [attrs["aria-label"] for tag, attrs in html.tags if tag == "svg" and "aria-label" in attrs]
    (loss,) = [label for label in labels if label.startswith("Loss of each epoch")]
    history = two.history_["loss"]
    assert f"training {page.number(history[0])} at first, {page.number(history[-1])} in the end" in loss
    assert "validation" in loss
    settings = dict(html.table("Settings other than"))
    assert settings == {
        "hidden_size": "4",
        "max_iter": "3",
        "random_state": "0",
        "device": "'cpu'",
        "early_stopping": "True",
    }
    every = dict(html.table("All settings"))
    assert every.keys() == two.get_params().keys()
    sizes = [*map(len, TEXTS), 3]
    told = dict(html.table("The sequences"))
    assert (told["sequences"], told["steps"]) == ("61", str(sum(sizes)))
    assert told["steps of a sequence"].startswith(
        f"{min(sizes)} to {max(sizes)}, median {page.number(np.median(sizes))}, "
    )
    assert told["unknown to the model"] == f"3 of {sum(sizes)} tokens"
    assert "“z” 3 times" in html.text()


def test_gaps_are_counted():
    X = [x.copy() for x in SERIES]
    X[0][1, 2] = X[5][0, 2] = np.nan
    model = xlstm.SequenceClassifier(missing="mask", **SETTINGS).fit(
        xlstm.Sequences.of(X, ["speed", "load", "heat"]), KINDS
    )
    html = read(xlstm.report(model, xlstm.Sequences.of(X, ["speed", "load", "heat"]), KINDS))
    steps = sum(map(len, X))
    assert dict(html.table("The sequences"))["missing values"].startswith(f"2 of {3 * steps:,} ")
    rows = html.table("The features")[1:]
    values = np.concatenate(X)
    assert [row[0] for row in rows] == ["speed", "load", "heat"]
    for d, row in enumerate(rows):
        expected = [reduce(values[:, d]) for reduce in (np.nanmean, np.nanstd, np.nanmin, np.nanmax)]
        assert list(map(shown, row[1:5])) == pytest.approx(expected, rel=1e-3)
    assert "speed" in html.text()


NASTY = '</style><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\u202e\x00'


def test_nothing_of_the_data_is_markup():
    texts = [f"{NASTY}{k % 7}" for k in range(20)]
    labels = [f"<b>{k % 2}</b>\"'" for k in range(20)]
    model = xlstm.SequenceClassifier(**SETTINGS).fit(texts, labels)
    names = [f"<i>{k}" for k in range(20)]
    wrong = labels[1:] + labels[:1]
    made = xlstm.report(model, texts, wrong, names=names, title="<u>title</u>", notes=["<s>note</s>"])
    html = read(made)
    assert not {"b", "i", "u", "s", "img"} & {tag for tag, _ in html.tags}
    for word in ("<b>0</b>\"'", "<i>0", "<u>title</u>", "<s>note</s>", "<script>alert(1)</script>"):
        assert word in html.text()
    assert "\x00" not in made.html
    assert "default-src 'none'" in made.html
    frame = made._repr_html_()
    assert Read(frame).tags[0][1]["srcdoc"] == made.html


def test_its_size_is_bounded():
    n, K = 300, 70
    X = [RNG.standard_normal((700, 8)) for _ in range(20)] * (n // 20)
    y = [f"class {k % K:02} " + "x" * 300 for k in range(n)]
    y[:30] = y[:1] * 30
    settings = {**SETTINGS, "max_iter": 1}
    model = xlstm.SequenceClassifier(**settings).fit(X[:K], [f"class {k:02} " + "x" * 300 for k in range(K)])
    made = xlstm.report(model, X, y)
    html = read(made)
    assert len(made.html) < 300_000
    table = html.table("Confusion")
    assert (len(table), len(table[0])) == (31, 31)
    assert table[1][0].startswith("class 00 x")
    left = n - sum(sorted((y.count(label) for label in set(y)), reverse=True)[:30])
    assert f"the 30 most frequent of 70 classes; the other 40 have {left} sequences." in html.text()
    (rows,) = [rows[1:] for caption, rows in html.tables.items() if "worst of" in caption]
    assert len(rows) == 20
    assert max(len(word) for words in html.words for word in words.split()) <= page.LONGEST
    long = xlstm.SequenceClassifier(**settings).fit(["ab" * 900, "ba" * 900], ["x", "y"])
    assert len(xlstm.report(long, ["ab" * 900, "ba" * 900], ["y", "x"]).html) < 60_000


def test_no_mistakes_no_history_no_curve():
    X, y = ["ab", "ba", "aab", "bba"] * 5, ["b", "a", "b", "a"] * 5
    model = xlstm.SequenceClassifier(hidden_size=8, max_iter=40, learning_rate_init=0.02, random_state=0).fit(X, y)
    html = read(xlstm.report(model, X[:1], y[:1]))
    assert "every answer is right" in html.text()
    assert "There is no ROC curve" in html.text()
    torch = peer("torch")
    moved = xlstm.SequenceClassifier.from_torch(
        torch.nn.LSTM(3, 4, batch_first=True), torch.nn.Linear(4, 3), classes=["high", "low", "middle"], readout="final"
    )
    assert "there is no history" in read(xlstm.report(moved, SERIES, KINDS)).text()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 3, [-3, -2, -1, 0, 1, 2, 3]), (0.31, 0.39, [0.32, 0.34, 0.36, 0.38])],
)
def test_ticks_are_round(low, high, expected):
    assert charts.ticks(low, high, 7) == pytest.approx(expected) or charts.ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("spread", [1e-300, 1e-9, 1e-3, 0.7, 42, 1e9, 1e300])
def test_ticks_are_few(spread):
    for low in (0.0, -spread, spread * 0.37):
        assert 2 <= len(charts.ticks(low, low + spread)) <= 7


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda two: xlstm.report(xlstm.SequenceClassifier(), TEXTS, SIDES), ValueError, "not fitted"),
        (lambda two: xlstm.report(xlstm.LSTM(2, 3), TEXTS, SIDES), TypeError, "got LSTM"),
        (lambda two: xlstm.report(two, TEXTS, None), ValueError, "requires y"),
        (lambda two: xlstm.report(two, TEXTS, ["?"] * 60), ValueError, "'\\?', which is none of the classes"),
        (lambda two: xlstm.report(two, TEXTS, SIDES[1:]), ValueError, "inconsistent numbers"),
        (lambda two: xlstm.report(two, SERIES, SIDES), ValueError, "trained on characters"),
        (lambda two: xlstm.report(two, TEXTS, SIDES, names=["a"]), ValueError, "names must be 60"),
        (lambda two: xlstm.report(two, xlstm.Batches(lambda: iter([(TEXTS, SIDES)])), None), ValueError, "in memory"),
    ],
)
def test_what_cannot_be_reported_is_said(make, error, message, two):
    with pytest.raises(error, match=message):
        make(two)


def test_of_no_label_that_counts(labeler):
    with pytest.raises(ValueError, match="no label of y counts"):
        xlstm.report(labeler, ["ab"], ["--"])


def test_a_page_is_written_whole_or_not_at_all(tmp_path, two):
    place = tmp_path / "report.html"
    place.write_text("older")
    with pytest.raises(ValueError, match="which is none of the classes"):
        xlstm.report(two, TEXTS, ["?"] * 60, place)
    assert place.read_text() == "older"
    made = xlstm.report(two, TEXTS, SIDES, place)
    assert place.read_text(encoding="utf-8") == made.html
    with pytest.raises(FileNotFoundError):
        xlstm.report(two, TEXTS, SIDES, tmp_path / "no folder" / "report.html")
    with pytest.raises(IsADirectoryError):
        made.save(tmp_path)
    assert os.listdir(tmp_path) == ["report.html"]


# ---------------------------------------------------------------- the command


def test_the_command_reports_what_evaluate_measures(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, *QUICK)
    measured = run("evaluate", "long.xlstm", "long.held-out.csv", "--json").json
    done = run("report", "long.xlstm", "long.held-out.csv", "-o", "page.html", "--json").json
    for name in ("accuracy", "balanced_accuracy", "n_test", "device", "kernels"):
        assert done[name] == measured[name]
    assert {name: each["recall"] for name, each in done["classes"].items()} == measured["recall"]
    assert (done["report"], done["bytes"]) == ("page.html", os.path.getsize("page.html"))
    html = Read(Path("page.html").read_text(encoding="utf-8"))
    assert "long.xlstm on long.held-out.csv" in html.text()
    assert "held out when the model was trained" in html.text()
    told = run("report", "long.xlstm", "long.csv")
    assert told.code == 0, told.err
    not_held_out = (
        "These are not the sequences that were held out when the model was trained: it may have learned of some."
    )
    assert re.search(rf"^accuracy [01]\.\d+, balanced .*\n{not_held_out}\nreport: report\.html, \d+ bytes$", told.out)
    html = Read(Path("report.html").read_text(encoding="utf-8"))
    assert not_held_out in html.text()
    assert not_held_out in run("evaluate", "long.xlstm", "long.csv").out
    assert "held out when" not in run("evaluate", "long.xlstm", "long.held-out.csv").out
    run("train", "long.csv", *LONG, *QUICK, "--test-fraction", "0")
    assert run("report", "long.xlstm", "long.held-out.csv").code == 0
    assert "held out when" not in Path("report.html").read_text(encoding="utf-8"), "they trained this one"
    ids = {name for name, _ in recordings()}
    for rows in (rows for caption, rows in html.tables.items() if "mistake" in caption):
        assert {row[0] for row in rows[1:]} <= ids


def test_the_command_replaces_nothing_but_reports(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, *QUICK)
    for name in ("page.html", "page.html", "empty.html"):
        Path("empty.html").touch()
        assert run("report", "long.xlstm", "long.held-out.csv", "-o", name).code == 0
    Path("mine.html").write_text("<!doctype html>\n<title>mine</title>")
    refused = run("report", "long.xlstm", "long.held-out.csv", "-o", "mine.html")
    assert refused.code == 1
    assert "mine.html is there already, and is no report: name another file by --out, or add --force" in refused.err
    assert "mine" in Path("mine.html").read_text()
    assert run("report", "long.xlstm", "long.held-out.csv", "-o", "mine.html", "--force").code == 0
    assert "long.held-out.csv" in Path("mine.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", ["number", "steps", "labels"])
def test_the_command_on_other_answers(run, task):
    labels = {
        "number": lambda k, text: len(text) / 2,
        "steps": lambda k, text: text.upper(),
        "labels": lambda k, text: ";".join(sorted(set(text))),
    }
    texts = [text.replace(" ", "a") for text in TEXTS]
    write_rows("data.csv", ("text", "label"), [(text, labels[task](k, text)) for k, text in enumerate(texts)])
    assert run("train", "data.csv", "--task", task, *QUICK).code == 0
    measured = run("evaluate", "data.xlstm", "data.csv", "--json").json
    done = run("report", "data.xlstm", "data.csv", "--json", "--title", "Texts & more").json
    for name, value in measured.items():
        if name in done and isinstance(value, float):
            assert done[name] == pytest.approx(value)
    html = Read(Path("report.html").read_text(encoding="utf-8"))
    assert "Texts & more" in html.text()
    assert run("report", "data.xlstm", "data.csv").code == 0


def test_labels_that_are_numbers_and_an_indicator_matrix(run):
    """Files have them as text; a model that was trained in Python has what it was given."""
    data = recordings()
    X = xlstm.Sequences.of([x for _, x in data], ["speed", "load"])
    classes = [int(up(x) == up(data[0][1])) for _, x in data]
    xlstm.SequenceClassifier(**SETTINGS).fit(X, classes).save("numbers.xlstm")
    matrix = np.stack([classes, *([int(j % k == 0) for j in range(len(data))] for k in (2, 3, 4))], axis=1)
    short = np.stack([x[: min(len(x) for _, x in data)] for _, x in data])
    xlstm.SequenceClassifier(**SETTINGS).fit(short, matrix).save("matrix.xlstm")
    rows = [(name, t, *step, classes[k]) for k, (name, x) in enumerate(data) for t, step in enumerate(x.tolist())]
    write_rows("long.csv", ("run", "at", "speed", "load", "label"), rows)
    accuracy = xlstm.load("numbers.xlstm").score(X, classes)
    done = run("report", "numbers.xlstm", "long.csv", "--id", "run", "--time", "at", "--json").json
    assert done["accuracy"] == pytest.approx(accuracy)
    np.savez("data.npz", X=short, y=matrix)
    done = run("report", "matrix.xlstm", "data.npz", "--json").json
    assert done["subset_accuracy"] == pytest.approx(xlstm.load("matrix.xlstm").score(short, matrix))
    names = [[name for name, there in zip("pqrs", row, strict=True) if there] for row in matrix.tolist()]
    xlstm.SequenceClassifier(**SETTINGS).fit(short, names).save("lists.xlstm")
    assert run("report", "lists.xlstm", "data.npz", "--json").json["labels"]["r"]["n"] == matrix[:, 2].sum()
    np.savez("narrow.npz", X=short, y=matrix[:, :2])
    for command in ("report", "evaluate"):
        assert "2 columns of labels, but the model has 4: p, q, r, s" in run(command, "lists.xlstm", "narrow.npz").err


def test_the_command_says_in_one_sentence_what_is_wrong(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, *QUICK)
    write_rows("texts.csv", ("text", "label"), [("ab", "x")])
    write_rows("bare.csv", ("run", "at", "speed", "load"), [("r", t, 1.0, 2.0) for t in range(3)])
    xlstm.LSTM(2, 3).save("layer.xlstm")
    before = Path("long.csv").read_bytes()
    cases: list[tuple[tuple[str, ...], str]] = [
        (("long.xlstm", "bare.csv"), "label"),
        (("long.xlstm", "texts.csv"), "no column 'run'"),
        (("long.xlstm", "none.csv"), "none.csv"),
        (("layer.xlstm", "long.csv"), "gives no answers"),
        (("long.csv", "long.csv"), "not a model file"),
        (("long.xlstm", "long.csv", "-o", "no/page.html"), "folder of the file does not exist"),
        (("long.xlstm", "long.csv", "-o", "."), "this is a folder"),
        (("long.xlstm", "long.csv", "-o", "long.csv"), "would overwrite long.csv"),
        (("long.xlstm", "long.csv", "-o", "long.xlstm"), "would overwrite long.xlstm"),
    ]
    for arguments, message in cases:
        done = run("report", *arguments)
        assert (done.code, done.out) == (1, ""), arguments
        assert len(done.err.splitlines()) == 1, done.err
        assert message in done.err
    assert Path("long.csv").read_bytes() == before
    assert not list(Path().glob("*.html"))


def test_of_the_sequences_that_only_lists_it_knows_the_ids(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, *QUICK)
    names = [name for name, _ in recordings()][3:9]
    write_rows("some.csv", ["id"], [[name] for name in names])
    assert run("report", "long.xlstm", "long.csv", "--only", "some.csv", "--json").json["n_test"] == 6
    html = Read(Path("report.html").read_text(encoding="utf-8"))
    for rows in (rows for caption, rows in html.tables.items() if "mistake" in caption):
        assert {row[0] for row in rows[1:]} <= set(names)


# ---------------------------------------------------------------- in a browser


def browser() -> tuple[Any, str]:
    """What starts a Chromium of this machine, and where that is; a skip where none, or no client for it, is there."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    return api.sync_playwright(), path


def test_in_a_browser(tmp_path, two, three, labeler, regressor):
    """No error, nothing loaded, no scrolling sideways on a phone; clean by axe-core if `XLSTM_AXE` names its file."""
    start, path = browser()
    axe = os.environ.get("XLSTM_AXE")
    xlstm.report(two, TEXTS, SIDES, tmp_path / "two.html", title="W" * 90)
    xlstm.report(three, SERIES, KINDS, tmp_path / "three.html", names=["n" * 80] * 60)
    xlstm.report(labeler, TEXTS, TAGS, tmp_path / "labeler.html")
    xlstm.report(regressor, SERIES, HEIGHTS, tmp_path / "regressor.html")
    with start as play:
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, width, scheme in (
            ("two", 360, "dark"),
            ("three", 360, "light"),
            ("labeler", 360, "light"),
            ("regressor", 360, "dark"),
            ("three", 1200, "dark"),
        ):
            size = {"width": width, "height": 800}
            context = chromium.new_context(viewport=size, color_scheme=scheme, bypass_csp=bool(axe))
            tab, errors, asked = context.new_page(), [], []
            tab.on("console", lambda message, errors=errors: errors.append(message.text))
            tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.goto((tmp_path / f"{name}.html").as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            assert not errors
            assert len([url for url in asked if not url.startswith("data:")]) == 1
            if axe:
                tab.evaluate(Path(axe).read_text(encoding="utf-8"))
                found = tab.evaluate("axe.run(document)")["violations"]
                assert not found, [(each["id"], each["nodes"][0]["html"]) for each in found]
            context.close()
        chromium.close()
