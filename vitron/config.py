"""The configuration of a VITRON model: one frozen dataclass for each part.

A preset (`vitron.presets`) is a value of `VitronConfig` and nothing else: no code asks which preset it runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Where a stock checkpoint comes from.

    Attributes:
        repository: Hugging Face repository or a local folder in the same layout.
        revision: pinned revision; "main" only where upstream offers nothing else.
    """

    repository: str
    revision: str = "main"


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """A CLIP tower pair.

    Attributes:
        vision, text: keyword arguments of `CLIPVisionConfig` and `CLIPTextConfig`.
        feature_layer: index into the vision tower's hidden states whose patches are the features (paper: -2).
        mean, std: pixel normalisation in [0, 1].
        pretrained: stock checkpoint of the vision tower; None: this project's own weights.
    """

    vision: dict[str, Any]
    text: dict[str, Any] = field(default_factory=dict)
    feature_layer: int = -2
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    pretrained: Pretrained | None = None

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.vision["image_size"])

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // int(self.vision["patch_size"])

    @property
    def width(self) -> int:
        """Channels of a patch feature."""
        return int(self.vision["hidden_size"])


@dataclass(frozen=True, kw_only=True)
class RegionConfig:
    """The region encoder (Osprey's mask extractor on one feature level).

    Attributes:
        geometry_size: side of the binary mask that the geometry token is computed from.
        hidden: width of the geometry MLP.
    """

    geometry_size: int = 112
    hidden: int = 1024


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """How clips are seen (see `vitron.encoders.video`).

    Attributes:
        max_frames: frames that the encoder looks at; of longer clips, that many spread evenly.
        frame_tokens: whether each frame gives tokens of its own beside the temporal mean. The paper has the mean
            alone (§3.1), from which frame numbers can't be recovered.
        frame_grid: side of the grid of cells over which a frame's features are averaged: 1 is one token a frame.
        frame_squares: whether a frame's cells are a picture's tokens: squares of merged patches through the LLM's own
            projector, so that what the LLM has learned of pictures holds for frames. Then `frame_grid` is the number
            of squares on a side.
        frame_motion: whether a frame's tokens also say what has changed since the frame before. Where nothing moves
            that is nothing, which a small LLM would have to learn to subtract.
        motion_field: whether a frame's tokens also say where to what they show moves (`vitron.encoders.motion_field`).
    """

    max_frames: int = 16
    frame_tokens: bool = True
    frame_grid: int = 1
    frame_squares: bool = False
    frame_motion: bool = False
    motion_field: bool = False

    def __post_init__(self) -> None:
        if self.max_frames < 1 or self.frame_grid < 1:
            got = f"{self.max_frames}, {self.frame_grid}"
            raise ValueError(f"max_frames, frame_grid: got {got}, expected 1 or more")
        for name in ("frame_motion", "frame_squares"):
            if getattr(self, name) and not self.frame_tokens:
                raise ValueError(f"{name}: got True without frame_tokens, which would tell it")
        if self.motion_field and not self.frame_squares:
            raise ValueError("motion_field: got True without frame_squares, which it compares")

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame in the prompt, beside the temporal mean."""
        return self.frame_grid**2 if self.frame_tokens else 0


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """The core LLM.

    Attributes:
        llama: keyword arguments of `LlamaConfig` (`vocab_size` is taken from the tokenizer).
        merge: side of the patch square merged into one visual token by the linear projector (1: none).
        pretrained: stock checkpoint and tokenizer; None: this project's own.
        lora_rank: rank of the LoRA adapters; 0: the LLM itself is trained.
    """

    llama: dict[str, Any]
    merge: int = 1
    pretrained: Pretrained | None = None
    lora_rank: int = 0
    lora_alpha: int = 0

    @property
    def width(self) -> int:
        """Channels of a token embedding."""
        return int(self.llama["hidden_size"])


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    """Signal tokens: the continuous half of the hybrid message.

    Attributes:
        num_tokens: n.
        specific, shared: widths of v^p and v^s; a signal embedding is `[n, specific + shared]`.
    """

    num_tokens: int = 8
    specific: int = 64
    shared: int = 64

    @property
    def width(self) -> int:
        """Channels of v = [v^p ; v^s]."""
        return self.specific + self.shared


@dataclass(frozen=True, kw_only=True)
class SynergyConfig:
    """The discriminator that tells tasks apart by v^s while step 3 trains (paper §B.3).

    Attributes:
        hidden, num_layers, num_heads, feedforward: of its Transformer encoder; paper: 4 layers of 768.
    """

    hidden: int = 768
    num_layers: int = 4
    num_heads: int = 12
    feedforward: int = 3072


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """An output projection (NExT-GPT's form): linear, encoder-decoder Transformer with learned queries, linear."""

    hidden: int = 512
    num_layers: int = 4
    num_heads: int = 4
    feedforward: int = 2048
    num_queries: int = 77


@dataclass(frozen=True, kw_only=True)
class GligenConfig:
    """GLIGEN: layout-conditioned latent diffusion.

    Attributes:
        unet, vae, scheduler: keyword arguments of the diffusers classes (`UNet2DConditionModel`,
            `AutoencoderKL`, `DPMSolverMultistepScheduler`).
        text: keyword arguments of the `CLIPTextConfig` of the condition encoder.
        projection: from the signal embedding into the condition space.
        max_objects: grounding slots; padding takes part in attention, so it is a constant of the weights.
        fuser_fraction: part of the steps with the gated layers on (`gligen_scheduled_sampling_beta`).
        position_bands: frequencies of the positions that the UNet's first layer sees (`vitron.diffusion.positions`);
            0 as in stock checkpoints: none.
        image_size: side of the pictures it makes.
        num_steps, guidance_scale: defaults of a request.
        pretrained: stock pipeline; None: this project's own weights.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]
    text: dict[str, Any]
    projection: ProjectionConfig
    max_objects: int = 30
    fuser_fraction: float = 0.3
    position_bands: int = 0
    image_size: int = 512
    num_steps: int = 50
    guidance_scale: float = 7.5
    max_rows: int = 8
    pretrained: Pretrained | None = None


@dataclass(frozen=True, kw_only=True)
class VideoDiffusionConfig:
    """What the two video generators have in common.

    Attributes:
        unet, vae, scheduler: keyword arguments of the diffusers classes (the UNet is the subclass's,
            `AutoencoderKL`, `DPMSolverMultistepScheduler`).
        text: keyword arguments of the `CLIPTextConfig` of the condition encoder.
        projection: from the signal embedding into the condition space.
        temporal_heads, temporal_head_dim: width of all temporal transformers (`vitron.diffusion.temporal`); 0 heads as
            in stock checkpoints: diffusers' own.
        position_bands: frequencies of the place in picture and clip that the first layer sees; 0 as in stock
            checkpoints: none.
        shared_noise: part of the noise that all frames share (`vitron.diffusion.noise`).
        height, width: of the frames it makes.
        num_frames, num_steps, guidance_scale, fps: defaults of a request.
        max_frames: most frames of a request.
        max_rows: rows of a forward.
        pretrained: stock pipeline; None: this project's own weights.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]
    text: dict[str, Any]
    projection: ProjectionConfig
    temporal_heads: int = 0
    temporal_head_dim: int = 0
    position_bands: int = 0
    shared_noise: float = 0.0
    height: int
    width: int
    num_frames: int
    max_frames: int
    num_steps: int = 50
    guidance_scale: float = 9.0
    fps: float = 8.0
    max_rows: int = 4
    pretrained: Pretrained | None = None


@dataclass(frozen=True, kw_only=True)
class ZeroscopeConfig(VideoDiffusionConfig):
    """ZeroScope: text to video with `UNet3DConditionModel`.

    Attributes:
        plan_channels: in which the first layer sees a plan (`vitron.clip_plan`); 0 as in stock checkpoints: none.
    """

    plan_channels: int = 0


@dataclass(frozen=True, kw_only=True)
class I2VGenConfig(VideoDiffusionConfig):
    """I2VGen-XL: picture to video with `I2VGenXLUNet`.

    Attributes:
        vision: keyword arguments of the `CLIPVisionConfig` of the picture embedding; None: there is no such encoder,
            and the UNet knows the picture by its latents alone.
        mean, std: pixel normalisation in [0, 1] of that encoder.
        repeat_image: whether every frame sees the picture; stock checkpoints show it to the first frame alone.
        copies: whether the network also says what of the first frame moves where (`vitron.diffusion.warp`);
            for v-prediction. Stock checkpoints don't.
        follows_plan: whether a plan (`vitron.clip_plan`) says what moves where to, for a network that copies.
        detail: parts of a latent position, along a side, of each of which the network says whether it moves.
        text_layer: index into the text encoder's hidden states.
        knows_fps: whether it was trained with several frame rates; else a request's is that of playing alone.
    """

    vision: dict[str, Any] | None = None
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    repeat_image: bool = False
    copies: bool = False
    follows_plan: bool = False
    detail: int = 1
    text_layer: int = -1
    knows_fps: bool = False


@dataclass(frozen=True, kw_only=True)
class SeemConfig:
    """SEEM: promptable segmentation (see `vitron.specialists.seem`).

    Attributes:
        image_size: side the picture is stretched to.
        embed_dim, depths, focal_levels, focal_windows: FocalNet stages; channels double at each stage.
        stem_stride, stem_kernel, stem_padding: patch embedding of the first stage.
        hidden, num_heads, feedforward: width of pixel decoder and decoder.
        encoder_layers: Transformer layers on the coarsest map.
        decoder_layers: decoder layers, cycling over three scales.
        num_queries: object queries.
        max_spatial: sampled positions of a drawn prompt.
        memory_frames, memory_points: frames of a clip of which an object's memory keeps tokens, and how many of each.
        memory_width: of the space in which looks of an object are compared, and tracks with words.
        text: keyword arguments of its language encoder (`vocab_size`, `hidden_size`, `num_hidden_layers`,
            `num_attention_heads`, `max_position_embeddings`).
        projection: from the signal embedding to grounding tokens.
        mean, std: pixel normalisation, 0-255 RGB.
        pretrained: stock checkpoint; None: this project's own weights.
    """

    text: dict[str, Any]
    projection: ProjectionConfig
    image_size: int = 512
    embed_dim: int = 192
    depths: tuple[int, ...] = (2, 2, 18, 2)
    focal_levels: tuple[int, ...] = (4, 4, 4, 4)
    focal_windows: tuple[int, ...] = (3, 3, 3, 3)
    stem_stride: int = 4
    stem_kernel: int = 7
    stem_padding: int = 2
    hidden: int = 512
    num_heads: int = 8
    feedforward: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 9
    num_queries: int = 101
    max_spatial: int = 512
    memory_frames: int = 3
    memory_points: int = 16
    memory_width: int = 64
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    pretrained: Pretrained | None = None


@dataclass(frozen=True, kw_only=True)
class AtlasConfig:
    """The layered neural atlas of video editing (see `vitron.specialists.stablevideo`).

    Attributes:
        hidden, layers: of its four networks.
        color_bands, alpha_bands: octaves of the positions that colours and alpha read.
        steps, batch, lr: of the fit: pixels of a step, and Adam's learning rate.
        max_side: a clip is fitted at a size of at most this many pixels along its longer side.
        max_pixels: of all frames of the clip that is fitted; longer clips are fitted smaller.
        keyframes: frames that the image editor paints for one edit, unless a request says otherwise.
        cache: fitted clips that are kept.
    """

    hidden: int = 256
    layers: int = 6
    color_bands: int = 8
    alpha_bands: int = 5
    steps: int = 4000
    batch: int = 10_000
    lr: float = 1e-3
    max_side: int = 432
    max_pixels: int = 12_000_000
    keyframes: int = 4
    cache: int = 8


@dataclass(frozen=True, kw_only=True)
class VitronConfig:
    """A whole model."""

    name: str
    clip: ClipConfig
    region: RegionConfig
    language: LanguageConfig
    signal: SignalConfig
    synergy: SynergyConfig
    gligen: GligenConfig
    zeroscope: ZeroscopeConfig
    i2vgen: I2VGenConfig
    seem: SeemConfig
    video: VideoConfig = field(default_factory=VideoConfig)
    atlas: AtlasConfig = field(default_factory=AtlasConfig)

    @property
    def num_image_tokens(self) -> int:
        """Visual tokens of one picture in the prompt."""
        side = self.clip.grid // self.language.merge
        return side * side
