"""A text classifier: convolutions of several widths over the words, max over time."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class TextCNN(nn.Module):
    """Embedding, parallel 1-D convolutions, max over time, linear layer."""

    def __init__(self, vocab_size, n_embd, n_filters, widths, n_classes):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.convs = nn.ModuleList([nn.Conv1d(n_embd, n_filters, k) for k in widths])
        self.fc = nn.Linear(n_filters * len(widths), n_classes)

    def forward(self, x, y):
        """Return the cross-entropy of the classes y [B]."""
        emb = self.embedding(x).transpose(1, 2)  # [B, n_embd, T]
        features = [F.relu(conv(emb)) for conv in self.convs]
        pooled = [f.max(dim=2).values for f in features]
        h = torch.cat(pooled, dim=1)
        logits = self.fc(h)
        loss = F.cross_entropy(logits, y)
        return loss


torch.manual_seed(2014)
model = TextCNN(vocab_size=17, n_embd=5, n_filters=7, widths=(2, 3), n_classes=3)
x = torch.randint(17, (2, 11))
y = torch.randint(3, (2,))
