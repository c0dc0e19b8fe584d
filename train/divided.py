"""Tensors divided among workers: FSDP2's `DTensor`, told by its methods, as its class takes seconds to import."""

from __future__ import annotations

from torch import Tensor


def gathered(tensor: Tensor) -> Tensor:
    """Return a tensor put together from all workers; called by all of them."""
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole


def divided_as(value: Tensor, other: Tensor) -> Tensor:
    """Return `value` on the device of `other`, and divided as it is; called by all workers."""
    value = value.to(other.device)
    if hasattr(other, "full_tensor"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(other, DTensor)
        return distribute_tensor(value, other.device_mesh, other.placements)
    return value
