import pytest
import torch

from clipbench.corpora.windows import draw_windows, parts


def test_the_parts_are_disjoint_in_order_and_make_up_the_text() -> None:
    training, evaluation, probing = parts(torch.arange(1000))
    assert (len(training), len(evaluation), len(probing)) == (900, 50, 50)
    assert torch.equal(torch.cat([training, evaluation, probing]), torch.arange(1000))


def test_windows_are_stretches_of_the_text_that_begin_everywhere_from_its_first_place_to_the_last_possible() -> None:
    text = torch.arange(100, 107, dtype=torch.uint8)
    windows = draw_windows(text, 200, length=4, draw=torch.Generator().manual_seed(0))
    assert windows.dtype == torch.int64
    assert {tuple(window) for window in windows.tolist()} == {tuple(range(k, k + 4)) for k in range(100, 104)}


def test_a_window_longer_than_the_text_is_refused() -> None:
    draw = torch.Generator()
    assert draw_windows(torch.arange(5), 1, length=5, draw=draw).shape == (1, 5)
    with pytest.raises(ValueError, match="a window of 6 is longer than the text of 5"):
        draw_windows(torch.arange(5), 1, length=6, draw=draw)
