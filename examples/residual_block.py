"""A residual block with batch norm, pooled into a classifier, in training mode."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a projected shortcut."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        """Return relu(residual + shortcut)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        out = F.relu(out)
        return out


class Net(nn.Module):
    """One block, global average pooling, and a linear classifier."""

    def __init__(self):
        super().__init__()
        self.block = BasicBlock(3, 5, stride=2)
        self.fc = nn.Linear(5, 11)

    def forward(self, x, y):
        """Return the cross-entropy of the labels y [N]."""
        out = self.block(x)
        out = out.mean(dim=(2, 3))
        logits = self.fc(out)
        loss = F.cross_entropy(logits, y)
        return loss


torch.manual_seed(2015)
model = Net()
x = torch.randn(2, 3, 7, 5)
y = torch.randint(11, (2,))
