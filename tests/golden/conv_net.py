"""Forward and backward pass of conv_net, line by line.

Written by handgrad; every gradient was compared with autograd's, at two sets of sizes.
"""

import torch
import torch.nn.functional as F


def forward(x, y, conv1_weight, conv1_bias, conv2_weight, conv2_bias, fc1_weight, fc1_bias, fc2_weight, fc2_bias):
    if x.ndim != 4 or y.ndim != 1:
        raise ValueError('this file was written for x.ndim == 4 and y.ndim == 1')
    if x.shape[1] != 1:
        raise ValueError('this file was written for x.shape[1] == 1: no other size was found that the forward pass takes')
    if (
        [t.shape for t in (conv1_weight, conv1_bias, conv2_weight, conv2_bias, fc1_weight,
        fc1_bias, fc2_weight, fc2_bias)] != [(3, 1, 3, 3), (3,), (5, 3, 3, 3), (5,), (11,
        30), (11,), (7, 11), (7,)]
    ):
        raise ValueError('this file was written for conv1_weight [3, 1, 3, 3], conv1_bias [3], conv2_weight [5, 3, 3, 3] and 5 more: they are no arguments of the forward pass')
    x_1 = F.relu(F.conv2d(x, conv1_weight, bias=conv1_bias))  # [2, 3, 12, 8]
    x_2 = F.max_pool2d(x_1, 2)  # [2, 3, 6, 4]
    x_3 = F.relu(F.conv2d(x_2, conv2_weight, bias=conv2_bias, padding=(1, 1)))  # [2, 5, 6, 4]
    x_4 = F.max_pool2d(x_3, 2)  # [2, 5, 3, 2]
    x_5 = x_4.flatten(start_dim=1)  # [2, 30]
    x_6 = F.relu(F.linear(x_5, fc1_weight, fc1_bias))  # [2, 11]
    x_7 = F.linear(x_6, fc2_weight, fc2_bias)  # [2, 7]
    loss = F.cross_entropy(x_7, y)  # []
    saved = (
        y, x_7, fc2_weight, x_6, x_5, fc1_weight, fc1_bias, x_4, x_3, x_2, conv2_weight,
        conv2_bias, x_1, x, conv1_weight, conv1_bias,
    )
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (
        y, x_7, fc2_weight, x_6, x_5, fc1_weight, fc1_bias, x_4, x_3, x_2, conv2_weight,
        conv2_bias, x_1, x, conv1_weight, conv1_bias,
    ) = saved

    # loss = F.cross_entropy(x_7, y)
    dx_7 = (x_7.softmax(1) - F.one_hot(y, num_classes=x_7.shape[1])) * (dloss / y.shape[0])  # [2, 7]

    # x_7 = F.linear(x_6, fc2_weight, fc2_bias)
    dx_6 = dx_7 @ fc2_weight  # [2, 11]
    dfc2_weight = dx_7.T @ x_6  # [7, 11]
    dfc2_bias = dx_7.sum(dim=0)  # [7]

    # x_6 = F.relu(F.linear(x_5, fc1_weight, fc1_bias))
    dx_6_1 = dx_6 * (F.linear(x_5, fc1_weight, fc1_bias) > 0)  # [2, 11]
    dx_5 = dx_6_1 @ fc1_weight  # [2, 30]
    dfc1_weight = dx_6_1.T @ x_5  # [11, 30]
    dfc1_bias = dx_6_1.sum(dim=0)  # [11]

    # x_5 = x_4.flatten(start_dim=1)
    dx_4 = dx_5.reshape_as(x_4)  # [2, 5, 3, 2]

    # x_4 = F.max_pool2d(x_3, 2)
    dx_3 = torch.zeros_like(x_3).flatten(start_dim=2).scatter_add(2, F.max_pool2d(x_3, 2, return_indices=True)[1].flatten(start_dim=2), dx_4.flatten(start_dim=2)).reshape_as(x_3)  # [2, 5, 6, 4]

    # x_3 = F.relu(F.conv2d(x_2, conv2_weight, bias=conv2_bias, padding=(1, 1)))
    dx_3_1 = dx_3 * (F.conv2d(x_2, conv2_weight, bias=conv2_bias, padding=(1, 1)) > 0)  # [2, 5, 6, 4]
    dx_2 = F.conv_transpose2d(dx_3_1, conv2_weight, padding=1)  # [2, 3, 6, 4]
    dconv2_weight = F.conv2d(x_2.transpose(0, 1), dx_3_1.transpose(0, 1), padding=1).transpose(0, 1)  # [5, 3, 3, 3]
    dconv2_bias = dx_3_1.sum(dim=(0, 2, 3))  # [5]

    # x_2 = F.max_pool2d(x_1, 2)
    dx_1 = torch.zeros_like(x_1).flatten(start_dim=2).scatter_add(2, F.max_pool2d(x_1, 2, return_indices=True)[1].flatten(start_dim=2), dx_2.flatten(start_dim=2)).reshape_as(x_1)  # [2, 3, 12, 8]

    # x_1 = F.relu(F.conv2d(x, conv1_weight, bias=conv1_bias))
    dx_1_1 = dx_1 * (F.conv2d(x, conv1_weight, bias=conv1_bias) > 0)  # [2, 3, 12, 8]
    dx = F.conv_transpose2d(dx_1_1, conv1_weight)  # [2, 1, 14, 10]
    dconv1_weight = F.conv2d(x.transpose(0, 1), dx_1_1.transpose(0, 1)).transpose(0, 1)  # [3, 1, 3, 3]
    dconv1_bias = dx_1_1.sum(dim=(0, 2, 3))  # [3]

    return {"dx": dx, "dconv1_weight": dconv1_weight, "dconv1_bias": dconv1_bias, "dconv2_weight": dconv2_weight, "dconv2_bias": dconv2_bias, "dfc1_weight": dfc1_weight, "dfc1_bias": dfc1_bias, "dfc2_weight": dfc2_weight, "dfc2_bias": dfc2_bias}
