"""A small convolutional network with max pooling, as for handwritten digits."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    """Two convolutions with pooling, then two linear layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, kernel_size=3)
        self.conv2 = nn.Conv2d(3, 5, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(5 * 3 * 2, 11)
        self.fc2 = nn.Linear(11, 7)

    def forward(self, x, y):
        """Return the cross-entropy of the labels y [N]."""
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return F.cross_entropy(x, y)


torch.manual_seed(1998)
model = Net()
x = torch.randn(2, 1, 14, 10)
y = torch.randint(7, (2,))
