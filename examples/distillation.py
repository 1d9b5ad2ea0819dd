"""Knowledge distillation: a student matches labels and a teacher's softened logits."""

import torch
import torch.nn.functional as F

torch.manual_seed(1503)
n, n_in, n_classes = 7, 11, 5
temperature = 3.0
alpha = 0.7

x = torch.randn(n, n_in)
y = torch.randint(n_classes, (n,))
teacher_logits = 2 * torch.randn(n, n_classes)
W = torch.randn(n_in, n_classes, requires_grad=True)
b = torch.zeros(n_classes, requires_grad=True)


def forward(x, y, teacher_logits, W, b):
    """Return the weighted sum of the soft and the hard loss."""
    student_logits = x @ W + b
    soft_targets = F.softmax(teacher_logits / temperature, dim=1)
    soft_logprobs = F.log_softmax(student_logits / temperature, dim=1)
    soft_loss = F.kl_div(soft_logprobs, soft_targets, reduction="batchmean") * temperature**2
    hard_loss = F.cross_entropy(student_logits, y)
    return alpha * soft_loss + (1 - alpha) * hard_loss
