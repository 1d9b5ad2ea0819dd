"""Forward and backward pass of svm, line by line.

Written by handgrad; every gradient was compared with autograd's, at the traced sizes alone.
"""

import torch


def forward(X, y, W, num_train, reg):
    if X.shape != (11, 7) or y.shape != (11,) or W.shape != (7, 5):
        raise ValueError("this file was written for X [11, 7], y [11] and W [7, 5]: a file's top level runs at its own sizes alone")
    scores = X @ W  # [11, 5]
    correct_class_scores = scores.gather(1, y.view(-1, 1))  # [11, 1]
    margins = (scores - correct_class_scores + 1).clamp(min=0)  # [11, 5]
    margins_1 = margins.index_put([torch.arange(11), y], torch.tensor(0, dtype=torch.float32))  # [11, 5]
    data_loss = margins_1.sum() / num_train  # []
    reg_loss = reg * (W * W).sum()  # []
    loss = data_loss + reg_loss  # []
    saved = (W, margins_1, y, scores, correct_class_scores, X, num_train, reg)
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (W, margins_1, y, scores, correct_class_scores, X, num_train, reg) = saved

    # loss = data_loss + reg_loss
    ddata_loss = dloss  # []
    dreg_loss = dloss  # []

    # reg_loss = reg * (W * W).sum()
    dreg_loss_1 = reg * dreg_loss * W  # [7, 5]

    # data_loss = margins_1.sum() / num_train
    dmargins_1 = (ddata_loss / num_train).expand_as(margins_1)  # [11, 5]

    # margins_1 = margins.index_put([torch.arange(11), y], torch.tensor(0, dtype=torch.float32))
    dmargins = dmargins_1.index_put([torch.arange(11), y], torch.zeros_like(torch.tensor(0, dtype=torch.float32)))  # [11, 5]

    # margins = (scores - correct_class_scores + 1).clamp(min=0)
    dmargins_2 = dmargins * (scores - correct_class_scores + 1 >= 0)  # [11, 5]
    dcorrect_class_scores = (-dmargins_2).sum(dim=1, keepdim=True)  # [11, 1]

    # correct_class_scores = scores.gather(1, y.view(-1, 1))
    dscores = (
        dmargins_2
        + torch.zeros_like(scores).scatter_add(1, y.reshape(-1, 1), dcorrect_class_scores)
    )  # [11, 5]

    # scores = X @ W
    dW = dreg_loss_1 + dreg_loss_1 + X.T @ dscores  # [7, 5]

    return {"dW": dW}
