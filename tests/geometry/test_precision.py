"""No TF32 where second derivatives are taken, and the user's choice afterwards."""

from collections.abc import Iterator

import pytest
import torch

from clipbench.geometry.contexts import full_float32


def chosen() -> tuple[str, str, str]:
    return (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        torch.get_float32_matmul_precision(),
    )


@pytest.fixture
def high() -> Iterator[None]:
    """The user's choice is TF32 for products too."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("high")
def test_inside_all_bits_are_kept_and_outside_as_the_user_chose() -> None:
    before = chosen()
    assert before[0] == before[1] == "tf32"
    with full_float32():
        assert chosen()[:2] == ("ieee", "ieee")
    assert chosen() == before


@pytest.mark.usefixtures("high")
def test_the_choice_is_put_back_when_the_body_raises() -> None:
    before = chosen()
    with pytest.raises(ValueError, match="gave up"), full_float32():
        raise ValueError("gave up")
    assert chosen() == before
