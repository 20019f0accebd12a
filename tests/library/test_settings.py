"""What trains can be saved: a setting is refused before the training, or is made plain."""

import json
from typing import Any

import numpy as np
import pytest

import xlstm

QUICK = {"hidden_size": 2, "max_iter": 1, "random_state": 0, "device": "cpu"}
X = ["ab", "ba", "b", "a"]
ESTIMATORS: dict[str, Any] = {
    "SequenceClassifier": list("xyxy"),
    "SequenceRegressor": [1.0, 2.0, 3.0, 4.0],
    "SequenceLabeler": [["x", "y"], ["y", "x"], ["x"], ["y"]],
    "SequenceFeatures": list("xyxy"),
}
ODD: dict[str, Any] = {
    "an array of no axis": np.array(3),
    "a long double": np.longdouble("0.5"),
    "a large long double": np.longdouble("1e4000"),
    "a set": {1},
    "a NumPy integer": np.int64(2),
    "a NumPy string": np.str_("adam"),
    "a NumPy boolean": np.True_,
    "half a float": np.float16(0.5),
    "a large integer": 10**400,
    "an integer that is too long for text": 10**5000,
    "bytes": b"x",
    "an object": object(),
    "NaN": float("nan"),
    "a tuple": (0.25, 0.5),
    "a dict": {"x": np.longdouble(2), "y": np.int8(1)},
    "a dict by a tuple": {("x",): 1.0},
    "a dict of sets": {"x": {1}, "y": 1.0},
    "a dtype": np.dtype(">f4"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_setting_is_refused_before_the_training_or_comes_back_from_its_file(estimator, odd, tmp_path, capfd):
    kind, trained = getattr(xlstm, estimator), 0
    for name in kind().get_params():
        made = kind(**{**QUICK, name: ODD[odd]})
        if name == "device":
            continue
        try:
            made.check_parameters()
        except ValueError as error:
            with pytest.raises(ValueError, match=f"^{name}") as refused:
                made.fit(X, ESTIMATORS[estimator])
            assert str(refused.value) == str(error)  # noqa: PT017  # whichever is refused first
            assert not hasattr(made, "_fitted")
            continue
        try:
            made.fit(X, ESTIMATORS[estimator])
        except (ValueError, FloatingPointError):
            continue  # it does not go with the data, or is too much of a good thing
        trained += 1
        made.save(tmp_path / "model")
        again = xlstm.load(tmp_path / "model", "cpu")
        assert again.plain_settings() == made.plain_settings()
        assert json.loads(json.dumps(again.plain_settings())) == again.plain_settings()
        again.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    assert trained or not odd.startswith(("an array", "a long", "a NumPy", "half a"))


def test_a_setting_of_ones_own_is_one_that_a_file_can_keep():
    class Own(xlstm.SequenceClassifier):
        def __init__(self, own: Any = None, **others: Any) -> None:
            super().__init__(**others)
            self.own = own

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return {**super().get_params(deep), "own": self.own}

        @classmethod
        def _parameter_names(cls) -> list[str]:
            return xlstm.SequenceClassifier._parameter_names()

    for value in (None, "x", 3, [1, [2.5, "y"]], (1, 2), np.arange(3), {"a": 1}):
        Own(value, **QUICK).check_parameters()
    for value in ({1}, object(), [float("inf")], [[b"x"]], lambda: 0):
        with pytest.raises(
            ValueError, match=r"own is .*, which no file could keep: expected None, text, a finite number"
        ):
            Own(value, **QUICK).fit(X, list("xyxy"))


def test_second_moments_that_overflow_are_saved(tmp_path):
    """A penalty so large that Adam's squares leave float32: the weights rest, and the training goes on."""
    made = xlstm.SequenceClassifier(**{**QUICK, "max_iter": 2}, alpha=2.0**70).fit(X, list("xyxy"))
    assert any(np.isinf(moment).any() for moment in made.fitted_state().trainer.optimizer.moments)
    made.save(tmp_path / "model")
    again = xlstm.load(tmp_path / "model", "cpu")
    np.testing.assert_array_equal(again.predict_proba(X), made.predict_proba(X))
    np.testing.assert_array_equal(
        again.partial_fit(X, list("xyxy")).predict_proba(X), made.partial_fit(X, list("xyxy")).predict_proba(X)
    )
