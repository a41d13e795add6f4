"""Decrease on plateau and early stopping, by sequences worked out by hand."""

import optax
import pytest

from cnn_jax.training import Control, ControlConfig, adapt, init_control


def told(losses: list[float], config: ControlConfig) -> list[Control]:
    control, told = init_control(), []
    for loss in losses:
        control = adapt(control, loss, config, higher_is_better=False)
        told.append(control)
    return told


def test_the_rate_decreases_after_patience_evaluations_without_improvement() -> None:
    config = ControlConfig(plateau_patience=2, plateau_factor=0.5)
    #  improves; better; waits 1; waits 2: halved; better; waits 1, 2: halved again
    losses = [1.0, 0.5, 0.5, 0.6, 0.4, 0.45, 0.4]
    scales = [float(control.scale) for control in told(losses, config)]
    assert scales == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_the_plateau_rule_is_optax_reduce_on_plateau() -> None:
    config = ControlConfig(plateau_patience=3, plateau_factor=0.2, min_improvement=0.01)
    losses = [2.0, 1.0, 0.995, 1.1, 0.9, 0.91, 0.92, 0.9, 0.9, 0.9, 0.9, 0.8, 0.7999, 0.7, 0.9]
    rule = optax.contrib.reduce_on_plateau(factor=0.2, patience=3, rtol=0.01)
    state, expected = rule.init(()), []
    for loss in losses:
        _, state = rule.update((), state, value=loss)
        expected.append(float(state.scale))
    scales = [float(control.scale) for control in told(losses, config)]
    assert scales == pytest.approx(expected, rel=1e-6)
    assert expected[-1] < 1


def test_training_stops_after_patience_evaluations_without_improvement() -> None:
    losses = [1.0, 0.9, 0.95, 0.85, 0.85, 0.86, 0.85]
    stops = [bool(c.stopped) for c in told(losses, ControlConfig(stop_patience=3))]
    assert stops == [False] * 6 + [True]
    waited = [int(c.stop_waited) for c in told(losses, ControlConfig(stop_patience=3))]
    assert waited == [0, 0, 1, 0, 1, 2, 3]


def test_too_small_an_improvement_is_none() -> None:
    config = ControlConfig(stop_patience=2, min_improvement=0.1)
    stops = [bool(c.stopped) for c in told([1.0, 0.95, 0.91], config)]
    assert stops == [False, False, True]


@pytest.mark.parametrize("losses", [[1.0] * 50, [1.0, float("inf")] * 20])
def test_nothing_happens_unless_asked_for(losses: list[float]) -> None:
    last = told(losses, ControlConfig())[-1]
    assert float(last.scale) == 1.0
    assert not bool(last.stopped)


def test_a_metric_of_which_more_is_better() -> None:
    config = ControlConfig(plateau_patience=1, plateau_factor=0.5, min_improvement=0.1)
    control, scales = init_control(), []
    for metric in (0.5, 0.6, 0.64, 0.7, float("nan")):
        control = adapt(control, metric, config, higher_is_better=True)
        scales.append(float(control.scale))
    # 0.64 is less than a tenth more than 0.6; what is not a number is no improvement.
    assert scales == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_negative_metrics_improve_by_their_size() -> None:
    config = ControlConfig(stop_patience=1, min_improvement=0.1)
    control = adapt(init_control(), -10.0, config, higher_is_better=False)
    assert not bool(adapt(control, -11.5, config, higher_is_better=False).stopped)
    assert bool(adapt(control, -10.5, config, higher_is_better=False).stopped)


@pytest.mark.parametrize("higher", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_no_improvement_and_forgets_nothing(
    higher: bool, value: float
) -> None:
    config = ControlConfig(stop_patience=3)
    control = adapt(init_control(), 0.5, config, higher_is_better=higher)
    after = adapt(control, value, config, higher_is_better=higher)
    assert float(after.best) == float(control.best)
    assert int(after.stop_waited) == 1
    worse = adapt(after, 0.4 if higher else 0.6, config, higher_is_better=higher)
    assert int(worse.stop_waited) == 2
    # Before the first finite metric any finite one is an improvement.
    first = adapt(init_control(), value, config, higher_is_better=higher)
    assert int(adapt(first, 0.5, config, higher_is_better=higher).stop_waited) == 0


def test_a_metric_does_not_improve_on_itself() -> None:
    config = ControlConfig(stop_patience=9, min_improvement=0.0)
    # 0.1 is less than the float32 that is kept of it.
    assert [int(c.stop_waited) for c in told([0.1, 0.1, 0.1], config)] == [0, 1, 2]


def test_the_best_weights_are_the_default_with_early_stopping() -> None:
    assert not ControlConfig().restores_best
    assert not ControlConfig(plateau_patience=3).restores_best
    assert ControlConfig(stop_patience=3).restores_best
    assert not ControlConfig(stop_patience=3, restore_best="no").restores_best
    assert ControlConfig(restore_best="yes").restores_best
