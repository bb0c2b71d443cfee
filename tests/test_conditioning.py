"""What a denoiser is told: rows of all its tensors are picked, joined and expanded together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.models import Conditioning


def _whole(b: int = 4) -> Conditioning:
    """Every tensor that there can be; row r of each is full of r (the mask: whether r is odd)."""
    row = torch.arange(b)
    return Conditioning(
        row.view(-1, 1, 1).expand(b, 3, 5).float(),
        row.view(-1, 1).expand(b, 2).float(),
        (row % 2 == 1).view(-1, 1).expand(b, 3),
        {"time_ids": row.view(-1, 1).expand(b, 6)},
    )


def _rows(found: Conditioning) -> list[int]:
    """Which rows of `_whole` these are, the same in every tensor."""
    assert found.pooled is not None and found.mask is not None
    told = found.tokens[:, 0, 0].long()
    assert torch.equal(found.pooled, told.view(-1, 1).expand(-1, 2).float())
    assert torch.equal(found.mask, (told % 2 == 1).view(-1, 1).expand(-1, 3))
    assert torch.equal(found.ids["time_ids"], told.view(-1, 1).expand(-1, 6))
    return told.tolist()


@pytest.mark.parametrize(
    "rows",
    [
        slice(1, 3),
        slice(None, None, 2),
        [3, 0, 0],
        (1,),
        range(2),
        torch.tensor([2, 2, 1]),
        torch.tensor([True, False, False, True]),
        [],
    ],
)
def test_rows_are_picked_as_of_one_tensor(rows: slice | list[int] | Tensor) -> None:
    expected = torch.arange(4)[list(rows) if isinstance(rows, range) else rows].flatten().tolist()
    assert _rows(_whole()[rows]) == expected


def test_single_rows_keep_their_axis_and_can_be_counted_from_the_end() -> None:
    whole = _whole()
    assert _rows(whole[2]) == [2] and _rows(whole[-1]) == [3] and len(whole) == 4
    assert [_rows(one) for one in whole] == [[0], [1], [2], [3]]
    with pytest.raises(IndexError):
        whole[4]


def test_joined_and_expanded() -> None:
    whole = _whole()
    assert _rows(Conditioning.join([whole[1:3], whole[0], whole])) == [1, 2, 0, 0, 1, 2, 3]
    assert _rows(whole[3].expand(3)) == [3, 3, 3] and _rows(whole.expand(4)) == [0, 1, 2, 3]
    assert whole[3].expand(1000).tokens.untyped_storage().nbytes() <= whole.tokens.untyped_storage().nbytes()
    with pytest.raises(RuntimeError):
        whole.expand(5)


def test_prompts_of_different_length_are_joined_where_a_mask_says_which_tokens_count() -> None:
    sizes = ((2, 3), (1, 5))
    short, long = (
        Conditioning(torch.full((*size, 2), float(size[1])), mask=torch.ones(size, dtype=torch.bool)) for size in sizes
    )
    for parts, lengths in (((short, long), [3, 3, 5]), ((long, short), [5, 3, 3])):
        joined = Conditioning.join(parts)
        assert joined.mask is not None and joined.tokens.shape == (3, 5, 2) and joined.mask.dtype == torch.bool
        assert joined.mask.sum(1).tolist() == lengths
        for tokens, mask, length in zip(joined.tokens, joined.mask, lengths, strict=True):
            assert mask[:length].all() and (tokens[:length] == length).all() and not tokens[length:].any()
    joined = Conditioning.join([Conditioning(short.tokens), Conditioning(long.tokens)])  # all of their own count
    assert joined.mask is not None and joined.mask.sum(1).tolist() == [3, 3, 5]
    assert Conditioning.join([Conditioning(long.tokens), Conditioning(long.tokens)]).mask is None


def test_other_tokens_leave_the_rest() -> None:
    whole, tokens = _whole(), torch.randn(4, 7, 5, requires_grad=True)
    other = whole.with_tokens(tokens)
    assert other.tokens is tokens and other.pooled is whole.pooled and other.ids == whole.ids
    other[[0]].tokens.sum().backward()
    assert tokens.grad is not None and tokens.grad[0].sum() == 35 and tokens.grad[1:].abs().sum() == 0


def test_masks_and_ids_keep_their_dtype() -> None:
    moved = _whole().to("cpu", torch.float16)
    assert (moved.tokens.dtype, moved.pooled.dtype) == (torch.float16, torch.float16)  # type: ignore[union-attr]
    assert (moved.mask.dtype, moved.ids["time_ids"].dtype) == (torch.bool, torch.int64)  # type: ignore[union-attr]
    assert _whole().to("cpu").tokens.dtype == torch.float32


def test_tokens_alone_are_enough_and_row_counts_must_agree() -> None:
    plain = Conditioning(torch.zeros(2, 3, 5))
    assert Conditioning.join([plain, plain]).pooled is None and len(plain[[1]]) == 1
    with pytest.raises(ValueError, match=r"one row of every tensor for each prompt, not \{'tokens': 2, 'pooled': 3\}"):
        Conditioning(torch.zeros(2, 3, 5), torch.zeros(3, 5))
