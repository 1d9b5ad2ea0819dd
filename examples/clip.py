"""The symmetric contrastive loss of CLIP between images and texts."""

import torch
import torch.nn.functional as F

torch.manual_seed(2021)
n, n_image, n_text, n_embd = 5, 11, 7, 3

images = torch.randn(n, n_image)
texts = torch.randn(n, n_text)
W_image = torch.randn(n_image, n_embd, requires_grad=True)
W_text = torch.randn(n_text, n_embd, requires_grad=True)
logit_scale = torch.tensor(1.5, requires_grad=True)


def forward(images, texts, W_image, W_text, logit_scale):
    """Return the mean of the image-to-text and text-to-image cross-entropies."""
    image_features = F.normalize(images @ W_image, dim=-1)
    text_features = texts @ W_text
    text_features = text_features / text_features.norm(dim=-1, keepdim=True)
    logits_per_image = logit_scale.exp() * image_features @ text_features.T
    logits_per_text = logits_per_image.T
    labels = torch.arange(images.shape[0])
    image_loss = F.cross_entropy(logits_per_image, labels)
    text_loss = F.cross_entropy(logits_per_text, labels)
    return (image_loss + text_loss) / 2
