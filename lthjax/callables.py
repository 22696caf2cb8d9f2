"""Names for the functions that are handed around: what they take and return.

Arguments have no names here, so that any function of the form fits. Parameters, model
states, masks and tickets are trees of arrays.
"""

from typing import Any, Protocol

import jax


class InitFn(Protocol):
    """key -> (params, model_state)."""

    def __call__(self, key: jax.Array, /) -> tuple[Any, Any]: ...


class ApplyFn(Protocol):
    """(params, model_state, inputs [batch, ...], train) -> (outputs, model_state)."""

    def __call__(
        self, params: Any, model_state: Any, inputs: Any, train: bool, /
    ) -> tuple[Any, Any]: ...


class LogitsFn(Protocol):
    """(params, inputs [batch, ...]) -> logits [batch, classes]."""

    def __call__(self, params: Any, inputs: Any, /) -> jax.Array: ...


class MasksFn(Protocol):
    """params -> full masks."""

    def __call__(self, params: Any, /) -> Any: ...


class LossFn(Protocol):
    """params -> loss []."""

    def __call__(self, params: Any, /) -> jax.Array: ...


class BatchLossFn(Protocol):
    """(params, batch) -> loss []."""

    def __call__(self, params: Any, batch: Any, /) -> jax.Array: ...


class ExampleFn(Protocol):
    """(outputs [batch, ...], labels [batch, ...]) -> a float for each, [batch]."""

    def __call__(self, outputs: Any, labels: Any, /) -> jax.Array: ...


class TemperedFn(Protocol):
    """(outputs, labels or outputs, a number) -> a float for each example, [batch]."""

    def __call__(self, outputs: Any, others: Any, number: Any, /) -> jax.Array: ...


class ObjectiveFn(Protocol):
    """(params, model_state, inputs, labels) -> (mean loss [], model_state)."""

    def __call__(
        self, params: Any, model_state: Any, inputs: Any, labels: Any, /
    ) -> tuple[jax.Array, Any]: ...


class GradientFn(Protocol):
    """(params, model_state, inputs, labels) -> ((loss [], model_state), gradient)."""

    def __call__(
        self, params: Any, model_state: Any, inputs: Any, labels: Any, /
    ) -> tuple[tuple[jax.Array, Any], Any]: ...


class PriceFn(Protocol):
    """(params, model_state) -> what is added to the mean loss, or `None`."""

    def __call__(self, params: Any, model_state: Any, /) -> jax.Array | None: ...


class ScoreFn(Protocol):
    """masks -> scores, higher = keep."""

    def __call__(self, masks: Any, /) -> Any: ...


class ChooseFn(Protocol):
    """(masks, scores, target) -> masks, inside those given."""

    def __call__(self, masks: Any, scores: Any, target: Any, /) -> Any: ...


class PruneFn(Protocol):
    """(key, trained, target or level) -> masks, inside `trained.masks`."""

    def __call__(self, key: jax.Array, trained: Any, target: Any, /) -> Any: ...


class PrepareFn(Protocol):
    """inputs as they are stored -> inputs as the network takes them."""

    def __call__(self, inputs: Any, /) -> Any: ...


class FollowFn(Protocol):
    """(labels [n, ...], what was done to their images, (h, w)) -> labels."""

    def __call__(self, labels: Any, moves: Any, side: tuple[int, int], /) -> Any: ...


class FetchFn(Protocol):
    """(key, data, indices [batch]) -> (inputs, labels), augmented."""

    def __call__(self, key: jax.Array, data: Any, indices: Any, /) -> tuple: ...


class DrawFn(Protocol):
    """key -> a batch."""

    def __call__(self, key: jax.Array, /) -> Any: ...


class PlaceFn(Protocol):
    """A batch on the host -> the same on the devices."""

    def __call__(self, batch: Any, /) -> Any: ...


class StepFn(Protocol):
    """(state, masks, inputs, labels, at) -> state, one optimizer step."""

    def __call__(
        self, state: Any, masks: Any, inputs: Any, labels: Any, at: Any, /
    ) -> Any: ...


class MeasureFn(Protocol):
    """(state, masks, data, at) -> state, with a point of its learning curve if due."""

    def __call__(self, state: Any, masks: Any, data: Any, at: Any, /) -> Any: ...


class RunFn(Protocol):
    """((state, masks, key), data, start, stop) -> state, the steps of one network."""

    def __call__(self, member: Any, data: Any, start: Any, stop: Any, /) -> Any: ...


class TrainFn(Protocol):
    """(states, (masks, keys), span, start, stop) -> states, of a population."""

    def __call__(
        self, states: Any, fixed: Any, span: Any, start: Any, stop: Any, /
    ) -> Any: ...


class CompileFn(Protocol):
    """(function of one member, fed=bool) -> that of a population, compiled."""

    def __call__(self, fn: Any, /, *, fed: bool = False) -> Any: ...


class CountFn(Protocol):
    """(params, model_state, chunk) -> sums over its examples."""

    def __call__(self, params: Any, model_state: Any, chunk: Any, /) -> jax.Array: ...


class EvaluateFn(Protocol):
    """(params, model_state, examples) -> (loss [], each measure [])."""

    def __call__(self, params: Any, model_state: Any, examples: Any, /) -> Any: ...


class EvaluationFn(Protocol):
    """(params, model_state) -> {measure: value} of the held-out sets."""

    def __call__(self, params: Any, model_state: Any, /) -> dict: ...


class ErrorFn(Protocol):
    """(params, model_state) -> error []."""

    def __call__(self, params: Any, model_state: Any, /) -> jax.Array: ...


class StatisticsFn(Protocol):
    """(params, model_state) -> model_state."""

    def __call__(self, params: Any, model_state: Any, /) -> Any: ...


class AccuracyFn(Protocol):
    """params -> accuracy []."""

    def __call__(self, params: Any, /) -> Any: ...


class ForwardFn(Protocol):
    """A training's state -> the weights of its forward pass."""

    def __call__(self, state: Any, /) -> Any: ...


class BeginFn(Protocol):
    """A ticket -> the state that its training starts from."""

    def __call__(self, ticket: Any, /) -> Any: ...


class ControlFn(Protocol):
    """(key, ticket, init_fn) -> ticket."""

    def __call__(self, key: jax.Array, ticket: Any, init_fn: InitFn, /) -> Any: ...


class OptimizerFn(Protocol):
    """params -> the state of an optimizer."""

    def __call__(self, params: Any, /) -> Any: ...


class Schedule(Protocol):
    """A step -> a number: a learning rate, a temperature."""

    def __call__(self, step: Any, /) -> Any: ...


class Activation(Protocol):
    """x of any shape -> the same shape."""

    def __call__(self, x: Any, /) -> Any: ...


class Writer(Protocol):
    """What is told of a run while it trains: for a service that draws experiments.

    `where` names a training, "ticket/seed_0/level_03". After an interruption the points
    since the last checkpoint come again.
    """

    def points(self, where: str, step: int, values: dict[str, float], /) -> None:
        """Takes what was measured at a step: {"validation_accuracy": 0.9, ...}."""

    def finished(self, where: str, record: dict[str, Any], /) -> None:
        """Takes the record of a training that has ended, as `results.jsonl` has it."""

    def close(self) -> None:
        """Ends the sitting, however the run ends."""
