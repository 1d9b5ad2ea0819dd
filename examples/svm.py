"""A linear multi-class SVM with the hinge loss of the CS231n notes."""

import torch

torch.manual_seed(231)
num_train, num_features, num_classes = 11, 7, 5
reg = 5e-3

X = torch.randn(num_train, num_features)
y = torch.randint(num_classes, (num_train,))
W = torch.randn(num_features, num_classes, requires_grad=True)

scores = X @ W
correct_class_scores = scores.gather(1, y.view(-1, 1))
margins = (scores - correct_class_scores + 1).clamp(min=0)
margins[range(num_train), y] = 0
data_loss = margins.sum() / num_train
reg_loss = reg * (W * W).sum()
loss = data_loss + reg_loss
