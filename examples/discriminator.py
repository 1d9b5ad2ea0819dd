"""A DCGAN-like discriminator that tells real images from generated ones."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Discriminator(nn.Module):
    """Strided convolutions with leaky ReLU, down to one logit per image."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * channels)
        self.conv3 = nn.Conv2d(2 * channels, 1, (3, 2))

    def logits(self, x):
        """Return one logit per image [N]."""
        x = F.leaky_relu(self.conv1(x), 0.2)
        x = F.leaky_relu(self.bn2(self.conv2(x)), 0.2)
        return self.conv3(x).view(-1)

    def forward(self, real, fake):
        """Return the loss of calling real images 1 and fake ones 0."""
        real_logits = self.logits(real)
        fake_logits = self.logits(fake)
        real_labels = torch.ones(real.shape[0])
        fake_labels = torch.zeros(fake.shape[0])
        real_loss = F.binary_cross_entropy_with_logits(real_logits, real_labels)
        fake_loss = F.binary_cross_entropy_with_logits(fake_logits, fake_labels)
        return real_loss + fake_loss


torch.manual_seed(2016)
model = Discriminator()
real = torch.randn(3, 1, 12, 8)
fake = torch.randn(5, 1, 12, 8)
