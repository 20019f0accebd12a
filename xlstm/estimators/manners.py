"""scikit-learn's manners: tags; metadata routing, which is what of sample_weight and its kin a method asks for; frames.

With `sklearn.set_config(enable_metadata_routing=True)` a search or a cross-validation hands on what its estimators
asked for. scikit-learn is imported only when one of the methods here is called: who calls them has it.
"""

from __future__ import annotations

import inspect
import sys
from types import MethodType
from typing import Any, TypeVar

from .. import backends

Self = TypeVar("Self", bound="Mannered")
Frames = TypeVar("Frames", bound="Framed")

UNCHANGED = "$UNCHANGED$"
"""`sklearn.utils.metadata_routing.UNCHANGED`: the default of each argument of `set_fit_request`."""
CONTAINERS = ("default", "pandas", "polars")
"""What `set_output` may ask for."""
METHODS = ("fit", "partial_fit", "score")
"""The methods that take more than X and y."""


def _asked(owner: type, method: str) -> list[str]:
    """What the method of this class takes beyond X and y of the same rows. What it takes by name alone is no such."""
    parameters = list(inspect.signature(getattr(owner, method)).parameters.values())[1:]
    by_place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sorted(p.name for p in parameters if p.name not in ("X", "y") and p.kind is by_place)


class Request:
    """A method like scikit-learn's `set_fit_request`: its arguments are those of the class's `fit` beyond X and y."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __get__(self, instance: Any, owner: type) -> Any:
        method, names = self.method, _asked(owner, self.method)

        def ask(estimator: Any, **requests: Any) -> Any:
            return estimator._ask(method, requests)

        ask.__name__ = f"set_{method}_request"
        ask.__qualname__ = f"{owner.__name__}.{ask.__name__}"
        ask.__doc__ = f"""Ask scikit-learn's searches and cross-validations for what they are to hand to `{method}`.

        For each of its arguments beyond X and y: True asks for it, False does without it, None makes it an error to be
        given it, and a string asks for it under that name.

        Returns
        -------
        self

        Raises
        ------
        RuntimeError
            If routing is not enabled: `sklearn.set_config(enable_metadata_routing=True)`.
        TypeError
            If `{method}` takes no such argument.
        """
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        keys = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=UNCHANGED) for name in names]
        ask.__signature__ = inspect.Signature([own, *keys])  # type: ignore[attr-defined]
        return ask if instance is None else MethodType(ask, instance)


class Mannered:
    """What scikit-learn asks of an estimator, which does not inherit from it."""

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(
                two_d_array=True,
                three_d_array=True,
                string=True,
                allow_nan=getattr(self, "missing", "error") == "mask",
            ),
        )

    set_fit_request = Request("fit")
    set_partial_fit_request = Request("partial_fit")
    set_score_request = Request("score")

    def get_metadata_routing(self) -> Any:
        """What each method asks for, as scikit-learn's MetadataRequest: a copy."""
        from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

        if hasattr(self, "_metadata_request"):  # the name that scikit-learn's `clone` knows
            return get_routing_for_object(self._metadata_request)
        routing = MetadataRequest(owner=type(self).__name__)
        for method in METHODS:
            for name in _asked(type(self), method):
                getattr(routing, method).add_request(param=name, alias=None)
        return routing

    def _ask(self: Self, method: str, requests: dict[str, Any]) -> Self:
        """Set some of a method's requests: what `set_fit_request` and its kin do."""
        from sklearn import get_config

        if not get_config().get("enable_metadata_routing", False):
            raise RuntimeError(
                "This method is only available when metadata routing is enabled. You can enable it using "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        names = _asked(type(self), method)
        unknown = sorted(set(requests) - set(names))
        if unknown:
            raise TypeError(f"{method} of {type(self).__name__} takes no {', '.join(unknown)}, but {', '.join(names)}.")
        routing = self.get_metadata_routing()
        for name, alias in requests.items():
            if not (isinstance(alias, str) and alias == UNCHANGED):
                getattr(routing, method).add_request(param=name, alias=alias)
        self._metadata_request = routing
        return self


class Framed:
    """scikit-learn's `set_output`, for a transformer that has `get_feature_names_out`."""

    get_feature_names_out: Any
    _sklearn_output_config: dict[str, str]

    def set_output(self: Frames, *, transform: str | None = None) -> Frames:
        """Say what `transform` and `fit_transform` are to give.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None
            An array, or a frame whose columns are `get_feature_names_out()`, on the host; in pandas with the index of
            X where that is a frame or a series. None changes nothing. Until it is said, what
            `sklearn.set_config(transform_output=...)` says holds. scikit-learn's `clone` keeps it; it is no parameter,
            and files have none.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If it is anything else.
        """
        if transform is not None:
            if transform not in CONTAINERS:
                raise ValueError(f"transform must be one of {CONTAINERS} or None, got {transform!r:.80}.")
            self._sklearn_output_config = {"transform": transform}  # the name that scikit-learn's `clone` knows
        return self

    def _contained(self, made: Any, X: Any) -> Any:
        """What `transform` made of X (n, F), in what was asked for."""
        container = getattr(self, "_sklearn_output_config", {}).get("transform")
        if container is None and "sklearn" in sys.modules:
            from sklearn import get_config

            container = get_config().get("transform_output")
        if container not in CONTAINERS[1:]:
            return made
        home, names = backends.owner(made), self.get_feature_names_out()
        made = made if home is None else home.to_host(made)
        if container == "polars":
            import polars

            return polars.DataFrame(made, schema=list(names), orient="row")
        import pandas

        index = X.index if isinstance(X, (pandas.DataFrame, pandas.Series)) else None
        return pandas.DataFrame(made, index=index, columns=names, copy=False)
