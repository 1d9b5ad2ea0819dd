"""A residual convolution block with group norm, as in a diffusion model's denoiser."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    """Predict the noise in an image, given the embedding of its noise level."""

    def __init__(self, channels, n_time):
        super().__init__()
        self.norm1 = nn.GroupNorm(2, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(n_time, channels)
        self.norm2 = nn.GroupNorm(3, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, time, noise):
        """Return the mean squared error of the predicted noise."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        out = x + h
        loss = F.mse_loss(out, noise)
        return loss


torch.manual_seed(2006)
model = Net(channels=6, n_time=11)
x = torch.randn(2, 6, 5, 3)
time = torch.randn(2, 11)
noise = torch.randn(2, 6, 5, 3)
