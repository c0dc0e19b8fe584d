"""From an image UNet to a video UNet of the same shape: narrow temporal layers that begin as the identity.

Diffusers' video UNets (`UNet3DConditionModel`, `I2VGenXLUNet`) put a temporal convolution behind every residual block
and a temporal transformer behind every spatial one. At the sizes of the tiny preset their transformers would cost more
than all else, and a new network would have to learn pictures again.

Shapes: F frames, h and w latent size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn

from vitron.diffusion.positions import position_maps

_BESIDES: ContextVar[Tensor] = ContextVar("_BESIDES")


class WiderConv2d(nn.Conv2d):
    """A convolution over its input and channels that its caller's caller gives: `beside` says which.

    `I2VGenXLUNet` takes as many channels as a latent has, and no more. The weights of those beside start at zero.
    """

    def __init__(self, conv: nn.Conv2d, beside: int) -> None:
        """Widen `conv` by `beside` input channels."""
        super().__init__(conv.in_channels + beside, conv.out_channels, 3, padding=1)
        assert conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.bias is not None
        with torch.no_grad():
            self.weight.zero_()[:, : conv.in_channels] = conv.weight
            assert self.bias is not None
            self.bias.copy_(conv.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `input` [B, C, h, w] with the channels beside it."""
        joined = torch.cat([input, _BESIDES.get()], dim=1)
        return F.conv2d(joined, self.weight, self.bias, self.stride, self.padding)


@contextmanager
def beside(channels_BChw: Tensor) -> Iterator[None]:
    """Give `WiderConv2d` layers these channels in the forward passes of this thread inside the block."""
    token = _BESIDES.set(channels_BChw)
    try:
        yield
    finally:
        _BESIDES.reset(token)


_FRAMES: ContextVar[int] = ContextVar("_FRAMES")


class WholeClipAttention(AttnProcessor):
    """Self-attention over all positions of all frames, with the weights of an image UNet's attention over one frame.

    Diffusers' temporal attention sees one position through time; what moves is at another position in every frame. On
    frames that are all alike it gives what attention over one of them gives.
    """

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **rest: Any
    ) -> Tensor:
        """Attend from [B * F, N, C]; cross-attention stays as it is."""
        if encoder_hidden_states is not None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, **rest)
        clips = hidden_states.reshape(-1, _FRAMES.get() * hidden_states.shape[1], hidden_states.shape[2])
        attended: Tensor = super().__call__(attn, clips, **rest)
        return attended.reshape(hidden_states.shape)


@contextmanager
def clips_of(frames: int) -> Iterator[None]:
    """Tell `WholeClipAttention` layers how many frames a clip has in the forward passes of this thread."""
    token = _FRAMES.set(frames)
    try:
        yield
    finally:
        _FRAMES.reset(token)


def narrow_temporal(unet: nn.Module, num_heads: int, head_dim: int, norm_num_groups: int) -> None:
    """Replace all temporal transformers by ones of width num_heads * head_dim, and make temporal layers the identity.

    Dropout of the temporal convolutions goes too.
    """
    for name, module in list(unet.named_modules()):
        if isinstance(module, TransformerTemporalModel):
            made = TransformerTemporalModel(
                num_attention_heads=num_heads,
                attention_head_dim=head_dim,
                in_channels=module.in_channels,
                norm_num_groups=norm_num_groups,
            )
            nn.init.zeros_(made.proj_out.weight)
            nn.init.zeros_(made.proj_out.bias)
            parent, _, child = name.rpartition(".")
            setattr(unet.get_submodule(parent), child, made)
        elif isinstance(module, TemporalConvLayer):
            for layer in module.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.0
    for name, module in unet.named_modules():
        if isinstance(module, Attention):
            whole = ".attentions." in name and name.endswith("attn1")
            # On a CPU and at this size the fused kernel is slow: plain products save a fifth of a training step.
            module.set_processor(WholeClipAttention() if whole else AttnProcessor())


@torch.no_grad()
def take_over(video: nn.Module, image: nn.Module, columns: list[int | None]) -> int:
    """Copy an image UNet's weights into a video UNet of the same channels; return how many numbers were taken over.

    Args:
        video: Gets the weights, by name. 1x1 convolutions become linear layers.
        image: Has them; what only it has (gated layers) is left out.
        columns: For each input channel of the video UNet's first layer, the image UNet's that it is; None: a new one,
            which starts at zero.
    """
    source, taken = dict(image.named_parameters()), 0
    for name, target in video.named_parameters():
        found = source.get(name)
        if found is None:
            continue
        if name == "conv_in.weight":
            for column, origin in enumerate(columns):
                target[:, column] = 0.0 if origin is None else found[:, origin]
            taken += found[:, [origin for origin in columns if origin is not None]].numel()
        elif name in ("conv_out.weight", "conv_out.bias"):
            # Further outputs start at zero.
            target.zero_()[: len(found)] = found
            taken += found.numel()
        elif found.numel() == target.numel():
            target.copy_(found.view_as(target))
            taken += target.numel()
    return taken


def clip_positions(frames: int, height: int, width: int, bands: int, device: torch.device | str = "cpu") -> Tensor:
    """Return sines and cosines of the place in picture and clip, [6 * bands, F, h, w]; see `position_maps`."""
    place = position_maps(height, width, bands, device)[:, None].expand(-1, frames, -1, -1)
    time = position_maps(1, frames, bands, device)[: 2 * bands, 0, :, None, None].expand(-1, -1, height, width)
    return torch.cat([place, time])
