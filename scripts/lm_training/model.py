"""A decoder of the Llama architecture, under the names that published weights have."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.lm_training.presets import Preset

_EPSILON = 1e-5
_ROPE_THETA = 10_000.0


class _Attention(nn.Module):
    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = preset.heads, preset.kv_heads, preset.head_size
        hidden = preset.hidden_size
        self.q_proj = nn.Linear(hidden, self.heads * self.size, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.size, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.size, bias=False)
        self.o_proj = nn.Linear(self.heads * self.size, hidden, bias=False)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        rows, tokens, _ = x.shape
        query = _turned(self._apart(self.q_proj(x), self.heads), cosines, sines)
        key = _turned(self._apart(self.k_proj(x), self.kv_heads), cosines, sines)
        value = self._apart(self.v_proj(x), self.kv_heads)
        each = self.heads // self.kv_heads
        key, value = key.repeat_interleave(each, 1), value.repeat_interleave(each, 1)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(seen.transpose(1, 2).reshape(rows, tokens, -1))

    def _apart(self, x: Tensor, heads: int) -> Tensor:
        """[rows, heads, tokens, size] of [rows, tokens, heads * size]."""
        return x.view(x.shape[0], x.shape[1], heads, self.size).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(preset.hidden_size, preset.intermediate_size, bias=False)
        self.up_proj = nn.Linear(preset.hidden_size, preset.intermediate_size, bias=False)
        self.down_proj = nn.Linear(preset.intermediate_size, preset.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class _Layer(nn.Module):
    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(preset.hidden_size, eps=_EPSILON)
        self.self_attn = _Attention(preset)
        self.post_attention_layernorm = nn.RMSNorm(preset.hidden_size, eps=_EPSILON)
        self.mlp = _FeedForward(preset)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cosines, sines)
        return x + self.mlp(self.post_attention_layernorm(x))


class _Body(nn.Module):
    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(preset.vocab_size, preset.hidden_size)
        self.layers = nn.ModuleList(_Layer(preset) for _ in range(preset.layers))
        self.norm = nn.RMSNorm(preset.hidden_size, eps=_EPSILON)


class Decoder(nn.Module):
    """The model; the embedding also makes the logits."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.model = _Body(preset)
        self._size = preset.head_size
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # Branches begin small beside the stream that they are added to.
                ends = name.endswith(("o_proj.weight", "down_proj.weight"))
                spread = weight.shape[1] ** -0.5 * (0.3 if ends else 1.0)
                nn.init.normal_(weight, std=0.02 if "embed" in name else spread)

    def loss(self, ids: Tensor, wanted: Tensor) -> Tensor:
        """The sum over the wanted tokens of how unlikely each was, in nats."""
        x = self._read(ids[:, :-1])
        kept = wanted[:, 1:]
        logits = functional.linear(x[kept], self.model.embed_tokens.weight)
        return functional.cross_entropy(logits.float(), ids[:, 1:][kept], reduction="sum")

    def _read(self, ids: Tensor) -> Tensor:
        """Hidden states [rows, tokens, hidden_size] after the last norm."""
        x = self.model.embed_tokens(ids)
        cosines, sines = _rotary(ids.shape[1], self._size, ids.device)
        for layer in self.model.layers:
            x = layer(x, cosines.to(x.dtype), sines.to(x.dtype))
        return self.model.norm(x)


def _rotary(tokens: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [tokens, size / 2] of rotary position embedding."""
    powers = torch.arange(0, size, 2, device=device, dtype=torch.float32) / size
    angles = torch.arange(tokens, device=device)[:, None] * _ROPE_THETA**-powers
    return angles.cos(), angles.sin()


def _turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Each pair of numbers (i, i + size / 2) turned by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    turned = (first * cosines - second * sines, second * cosines + first * sines)
    return torch.cat(turned, dim=-1)
