"""The configurations that a Function is checked in, and the numbers of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

Axis = tuple[int, int]  # which input, which axis


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        name: how it is told, `batch 17`.
        values: the inputs, tensors contiguous.
        needs: for each input, whether a gradient is asked for.
        seed: of the upstream gradient and of the forward's random numbers.
        dtype: of every floating-point input; None for the ones given.
        layout: how the inputs lie in memory: `plain`, `transposed`, `expanded`.
        upstream: how the upstream gradient lies in memory.
        factor: the upstream gradient is multiplied by this.
        silent: an output whose upstream gradient is None.
        edge: a point chosen to be hard: one where two derivatives may meet.
    """

    name: str
    values: tuple[Any, ...]
    needs: tuple[bool, ...]
    seed: int
    dtype: torch.dtype | None = torch.float64
    layout: str = "plain"
    upstream: str = "plain"
    factor: float = 1.0
    silent: int | None = None
    edge: bool = False

    def inputs(self, dtype: torch.dtype | None = None) -> tuple[Any, ...]:
        """Return fresh inputs, laid out as the case says."""
        return tuple(
            laid_out(cast(value, dtype or self.dtype), self.layout)
            if isinstance(value, torch.Tensor)
            else value
            for value in self.values
        )

    def change(self, name: str, **fields: Any) -> Case:
        """Return another case, made from this one."""
        return replace(self, name=name, **fields)


def cast(value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """Return a fresh tensor, of a dtype if it holds floats."""
    fresh = value.detach().clone(memory_format=torch.contiguous_format)
    return fresh.to(dtype) if dtype is not None and fresh.is_floating_point() else fresh


def laid_out(value: torch.Tensor, layout: str) -> torch.Tensor:
    """Return a tensor of the same shape whose memory lies otherwise.

    `expanded` repeats the first slice along axis 0 with stride 0: its values are others.
    """
    if layout == "transposed" and value.dim() >= 2:
        return value.mT.contiguous().mT
    if layout == "transposed" and value.dim() == 1:
        return torch.stack([value, value], dim=1)[:, 0]
    if layout == "expanded" and value.dim() >= 1 and value.shape[0] > 1:
        return value[:1].clone().expand(value.shape)
    return value


@dataclass(frozen=True)
class Source:
    """The inputs as they were given: new ones are drawn to be like them.

    Attributes:
        values: the given inputs.
        leaves: the inputs that a gradient is asked of.
    """

    values: tuple[Any, ...]
    leaves: tuple[int, ...]

    @property
    def needs(self) -> tuple[bool, ...]:
        """Return for each input whether a gradient is asked for."""
        return tuple(place in self.leaves for place in range(len(self.values)))

    @property
    def wide(self) -> bool:
        """Tell whether every floating-point input is float64 as given."""
        tensors = [value for value in self.values if isinstance(value, torch.Tensor)]
        return all(v.dtype == torch.float64 for v in tensors if v.is_floating_point())

    def axes(self) -> dict[int, list[Axis]]:
        """Return the axes of all tensors by their size, those of size 0 and 1 left out."""
        found: dict[int, list[Axis]] = {}
        for place, value in enumerate(self.values):
            if isinstance(value, torch.Tensor):
                for axis, size in enumerate(value.shape):
                    if size > 1:
                        found.setdefault(size, []).append((place, axis))
        return found

    def draw(self, sizes: Mapping[Axis, int], seed: int) -> tuple[Any, ...]:
        """Return inputs with the given sizes at some axes, drawn to be like those given."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            self.drawn(place, value, sizes, generator) if isinstance(value, torch.Tensor) else value
            for place, value in enumerate(self.values)
        )

    def drawn(
        self, place: int, value: torch.Tensor, sizes: Mapping[Axis, int], generator: torch.Generator
    ) -> torch.Tensor:
        """Return one input, drawn anew."""
        shape = [sizes.get((place, axis), size) for axis, size in enumerate(value.shape)]
        if value.is_floating_point():
            masked = place not in self.leaves and few(value)
            made = picked(value, shape, generator) if masked else like(value, shape, generator)
        elif value.dtype == torch.bool:
            made = torch.rand(shape, generator=generator) < 0.5
        else:
            low = int(value.min()) if value.numel() else 0
            high = self.limit(int(value.max()) + 1 if value.numel() else 1, sizes)
            low = low if low < high else 0
            made = torch.randint(low, max(high, low + 1), shape, generator=generator)
            made = made.to(value.dtype)
        return made.to(value.device)

    def limit(self, high: int, sizes: Mapping[Axis, int]) -> int:
        """Return where indices must stop: the new size of the axis that they seem to index."""
        fits = [
            (size, sizes.get((place, axis), size))
            for place, value in enumerate(self.values)
            if isinstance(value, torch.Tensor) and value.is_floating_point()
            for axis, size in enumerate(value.shape)
            if size >= high
        ]
        return min([high, *(new for _, new in fits)])


def few(value: torch.Tensor) -> bool:
    """Tell whether a tensor holds labels or a mask, not measurements."""
    return value.numel() > 0 and bool((value == value.round()).all())


def picked(value: torch.Tensor, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Return entries of a tensor, in another shape."""
    flat = value.detach().cpu().flatten()
    return flat[torch.randint(0, flat.numel(), tuple(shape), generator=generator)]


def like(value: torch.Tensor, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Return numbers of the same range: of one sign only where those given are.

    They are float32 numbers, so that the same point can be computed in float32 too.
    """
    known = value.detach().cpu().double().flatten()
    known = known[known.isfinite()]
    if not known.numel():
        known = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    low, high = float(known.min()), float(known.max())
    if known.numel() > 1 and (low >= 0 or high <= 0) and low < high:
        made = low + (high - low) * torch.rand(tuple(shape), generator=generator).double()
    elif known.numel() == 1 or low == high:
        size = abs(low) or 1.0
        made = size * (0.5 + torch.rand(tuple(shape), generator=generator).double())
        made = made if low > 0 else -made if low < 0 else made - 1.0
    else:
        spread = float(known.std())
        made = spread * torch.randn(tuple(shape), generator=generator).double()
    return made.float().double()


def one_sign(value: torch.Tensor) -> int:
    """Return 1 if no entry is negative, -1 if none is positive, 0 if there are both."""
    if not value.numel():
        return 0
    return 1 if bool((value >= 0).all()) else -1 if bool((value <= 0).all()) else 0
