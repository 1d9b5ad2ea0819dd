"""A falling body fitted to measured heights and speeds: a polynomial in time with drag."""

import torch

g = torch.Generator().manual_seed(981)
n = 13

t = torch.arange(1, n + 1) / 10
heights = 2 + 5 * t - 4.9 * t**2 + 0.05 * torch.randn(n, generator=g)
speeds = 5 - 9.8 * t + 0.05 * torch.randn(n, generator=g)

h0 = torch.tensor(1.5, requires_grad=True)
v0 = torch.tensor(4.0, requires_grad=True)
a = torch.tensor(9.0, requires_grad=True)
drag = torch.tensor(0.3, requires_grad=True)

h = h0 + v0 * t - a * t**2 / 2 + drag * t**3 / 6
v = v0 - a * t + drag * t**2 / 2
height_loss = (h - heights).pow(2).mean()
speed_loss = (v - speeds).pow(2).mean()
energy = v**2 / 2 + a * h
energy_drift = (energy - energy[0]) ** 2
loss = height_loss + speed_loss + 1e-3 * energy_drift.mean()
