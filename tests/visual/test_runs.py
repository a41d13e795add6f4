import pytest

from cnn_jax.visual import accuracies_of_runs, save_figure

RUNS = {"plain": [0.93, 0.935, 0.935], "mirrored": [0.94, 0.942, 0.944]}


def test_every_run_is_a_point_and_the_mean_a_number(tmp_path):
    figure = accuracies_of_runs(RUNS, target=0.94, title="CIFAR-10, test")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["plain"].get_xdata()) == [93, 93.5, 93.5]
    low, high, above = lines["plain"].get_ydata()
    assert low == high != above
    assert [text.get_text() for text in axes.texts] == [
        "target 94",
        "93.33 ± 0.29",
        "94.20 ± 0.20",
    ]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["plain", "mirrored"]
    assert axes.lines[0].get_xdata()[0] == 94 and axes.yaxis_inverted()
    save_figure(figure, tmp_path / "runs.png")


def test_one_run_has_no_deviation():
    (axes,) = accuracies_of_runs({"plain": [0.5]}, title="").axes
    assert [text.get_text() for text in axes.texts] == ["50.00"]


@pytest.mark.parametrize("nothing", [{}, {"plain": []}])
def test_nothing_to_draw_is_said(nothing):
    with pytest.raises(ValueError, match="at least one run"):
        accuracies_of_runs(nothing, title="")
