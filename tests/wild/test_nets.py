"""Nets for images, graphs and experts as public code writes them: every gradient is autograd's."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from agree import double as real
from steps import Cases, derives_right, steps_right, whole

net = Cases()


@net(whole(11, 2, 5), whole(11, 2, 5, seed=1))
class Decoder(nn.Module):
    """Causal self-attention with three dropouts, embeddings tied to the output."""

    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(11, 6), nn.Embedding(5, 6)
        self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 6)
        self.ln, self.drop = nn.LayerNorm(6), nn.Dropout(0.3)
        self.register_buffer("seen", torch.tril(torch.ones(5, 5)).view(1, 1, 5, 5))
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens, targets):
        b, t = tokens.size()
        x = self.drop(self.token(tokens) + self.position(torch.arange(0, t).unsqueeze(0)))
        q, k, v = self.qkv(self.ln(x)).split(6, dim=2)
        q, k, v = (z.view(b, t, 2, 3).transpose(1, 2) for z in (q, k, v))
        weights = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        weights = weights.masked_fill(self.seen[:, :, :t, :t] == 0, float("-inf"))
        weights = self.drop(F.softmax(weights, dim=-1))
        y = (weights @ v).transpose(1, 2).contiguous().view(b, t, 6)
        logits = self.head(x + self.drop(self.out(y)))
        return F.cross_entropy(logits.view(-1, 11), targets.view(-1), ignore_index=-1)


@net(real(2, 3, 8, 8), whole(4, 2))
class Patches(nn.Module):
    """A vision transformer: patches by views, a class token, norm before each part."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 6), nn.LayerNorm(6))
        self.cls, self.place = (
            nn.Parameter(torch.randn(1, 1, 6)),
            nn.Parameter(torch.randn(1, 5, 6)),
        )
        self.norm, self.qkv, self.back = (
            nn.LayerNorm(6),
            nn.Linear(6, 12, bias=False),
            nn.Linear(4, 6),
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(), nn.Dropout(0.2), nn.Linear(9, 6)
        )
        self.head = nn.Linear(6, 4)

    def forward(self, image, y):
        b = image.shape[0]
        x = image.reshape(b, 3, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(b, 4, 48)
        x = torch.cat((self.cls.expand(b, -1, -1), self.patch(x)), dim=1)
        x += self.place[:, :5]
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (z.reshape(b, 5, 2, 2).permute(0, 2, 1, 3) for z in (q, k, v))
        weights = (torch.einsum("bhid,bhjd->bhij", q, k) * 2**-0.5).softmax(dim=-1)
        x = x + self.back(
            torch.einsum("bhij,bhjd->bhid", weights, v).permute(0, 2, 1, 3).flatten(2)
        )
        x = x + self.mlp(x)
        return F.cross_entropy(self.head(x[:, 0]), y)


def doubled(i, o):
    """Return two convolutions, each normed, with ReLU in place."""
    return nn.Sequential(
        *(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)),
        *(nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)),
    )


@net(real(2, 1, 9, 9), whole(3, 2, 9, 9))
class UNet(nn.Module):
    """Down, up with padding to an odd size, and skips; cross-entropy and dice together."""

    def __init__(self):
        super().__init__()
        self.first, self.low, self.last = doubled(1, 3), doubled(3, 4), doubled(7, 3)
        self.pool, self.up = (
            nn.MaxPool2d(2),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        )
        self.out = nn.Conv2d(3, 3, 1)

    def forward(self, x, y):
        skip = self.first(x)
        x = self.up(self.low(self.pool(skip)))
        dy, dx = skip.size()[2] - x.size()[2], skip.size()[3] - x.size()[3]
        x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        logits = self.out(self.last(torch.cat([skip, x], dim=1)))
        onehot = F.one_hot(y, 3).permute(0, 3, 1, 2).double()
        inter = 2 * (F.softmax(logits, dim=1) * onehot).sum(dim=(-1, -2))
        sets = F.softmax(logits, dim=1).sum(dim=(-1, -2)) + onehot.sum(dim=(-1, -2))
        return F.cross_entropy(logits, y) + 1 - ((inter + 1e-6) / (sets + 1e-6)).mean()


@net(real(2, 3, 8, 8), whole(4, 2))
class Blocks(nn.Module):
    """Residual blocks with a norm in the shortcut, squeeze and excitation, a channel shuffle."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.wide = nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False)
        self.short = nn.Sequential(nn.Conv2d(4, 4, 1, 2, bias=False), nn.BatchNorm2d(4))
        self.squeeze, self.excite, self.out = (
            nn.Conv2d(4, 2, 1),
            nn.Conv2d(2, 4, 1),
            nn.Linear(4, 4),
        )

    def forward(self, x, y):
        h = F.relu(self.bn(self.conv(x)))
        z = self.wide(h)
        w = F.adaptive_avg_pool2d(z, (1, 1))
        z = z * self.excite(F.relu(self.squeeze(w))).sigmoid()
        z += self.short(h)
        n, c, a, b = z.size()
        z = F.relu(z).view(n, 2, c // 2, a, b).permute(0, 2, 1, 3, 4).reshape(n, c, a, b)
        return F.cross_entropy(self.out(F.avg_pool2d(z, 4).view(n, -1)), y)


@net(
    real(6, 4),
    (torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) > 0.5).double(),
    whole(3, 6),
)
class GraphAttention(nn.Module):
    """Graph attention with dropout on the weights, masked by where."""

    def __init__(self):
        super().__init__()
        self.w, self.a = nn.Parameter(torch.empty(4, 3)), nn.Parameter(torch.empty(6, 1))
        nn.init.xavier_uniform_(self.w.data, gain=1.414)
        nn.init.xavier_uniform_(self.a.data, gain=1.414)

    def forward(self, x, adjacent, y):
        x = F.dropout(x, 0.4, training=self.training)
        h = torch.mm(x, self.w)
        e = F.leaky_relu(h @ self.a[:3, :] + (h @ self.a[3:, :]).T, 0.2)
        attention = F.softmax(torch.where(adjacent > 0, e, -9e15 * torch.ones_like(e)), dim=1)
        attention = F.dropout(attention, 0.4, training=self.training)
        return F.nll_loss(F.log_softmax(F.elu(attention @ h), dim=1), y)


@net(real(6, 4), torch.tensor([[0, 1, 2, 3, 5, 5], [1, 2, 0, 5, 4, 3]]), whole(3, 6))
class Messages(nn.Module):
    """Messages along a list of edges: gathered, summed at their ends, divided by degrees."""

    def __init__(self):
        super().__init__()
        self.send, self.own = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x, edges, y):
        source, end = edges
        got = torch.zeros(6, 3, dtype=x.dtype).index_add(0, end, self.send(x[source]))
        degree = torch.zeros(6, dtype=x.dtype).scatter_add_(0, end, torch.ones(6, dtype=x.dtype))
        h = self.own(x) + got / degree.clamp(min=1).unsqueeze(-1)
        best = torch.full((6, 3), -1e9, dtype=x.dtype).scatter_reduce(
            0, end.unsqueeze(1).expand(-1, 3), h[source], reduce="amax"
        )
        return F.cross_entropy(h + torch.where(best < -1e8, 0.0, best), y)


@net(real(4, 2, 6), real(4, 2, 6, seed=1))
class Switch(nn.Module):
    """A switch of experts: each token's row goes to one of them, and is written back by its place."""

    def __init__(self):
        super().__init__()
        self.route = nn.Linear(6, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.1), nn.Linear(5, 6))
            for _ in range(3)
        )

    def forward(self, x, y):
        x = x.view(-1, 6)
        probs = self.route(x).softmax(-1)
        best, routes = torch.max(probs, dim=-1)
        rows = [torch.eq(routes, k).nonzero(as_tuple=True)[0] for k in range(3)]
        out = x.new_zeros(x.shape)
        for k, expert in enumerate(self.experts):
            out[rows[k], :] = expert(x[rows[k], :])
        out = (out * best.view(-1, 1)).view(4, 2, 6)
        counts = x.new_tensor([len(r) for r in rows])
        balance = 3 * ((counts / counts.sum()) * (probs.sum(0) / counts.sum())).sum()
        return F.mse_loss(out, y) + 0.01 * balance


@net(real(5, 4), whole(3, 5))
class TopExperts(nn.Module):
    """The two best of four experts with noise on the gates, stitched by index_add."""

    def __init__(self):
        super().__init__()
        self.gate, self.noise = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4, 4))
        self.experts = nn.ModuleList(nn.Linear(4, 3) for _ in range(4))

    def forward(self, x, y):
        clean = x @ self.gate
        spread = F.softplus(x @ self.noise) + 1e-2
        noisy = clean + torch.randn_like(clean) * spread
        top, at = noisy.topk(2, dim=1)
        gates = torch.zeros_like(noisy).scatter(1, at, top.softmax(1))
        out = torch.zeros(5, 3, dtype=x.dtype)
        for k, expert in enumerate(self.experts):
            rows = gates[:, k].nonzero()[:, 0]
            out = out.index_add(0, rows, expert(x[rows]) * gates[rows, k].unsqueeze(1))
        importance = gates.sum(0)
        return F.cross_entropy(out, y) + importance.var() / (importance.mean() ** 2 + 1e-10)


@pytest.mark.parametrize("name", net.every)
def test_every_gradient_is_autograds(name):
    derives_right(*net.made(name))


@pytest.mark.native
@pytest.mark.filterwarnings("ignore:.*this step runs in eager PyTorch:UserWarning")
@pytest.mark.parametrize("name", ["Decoder", "Blocks", "GraphAttention", "Messages", "Switch"])
def test_compiled_steps_are_eager_pytorchs(name):
    step = steps_right(*net.made(name))
    assert step.backend == "native" or step.note
