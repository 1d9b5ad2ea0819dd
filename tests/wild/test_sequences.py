"""Nets over time, flows and splines as public code writes them: every gradient is autograd's."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from agree import double as real
from steps import Cases, derives_right, steps_right, whole

net = Cases()


@net(whole(7, 2, 4), whole(7, 2, 4, seed=1))
class Scan(nn.Module):
    """A selective state space: a causal convolution and a scan over time, stacked."""

    def __init__(self):
        super().__init__()
        self.embed, self.into = nn.Embedding(7, 4), nn.Linear(4, 8, bias=False)
        self.conv = nn.Conv1d(4, 4, 3, groups=4, padding=2)
        self.parts, self.step = nn.Linear(4, 1 + 2 * 3, bias=False), nn.Linear(1, 4)
        self.a = nn.Parameter(torch.log(torch.arange(1, 4).repeat(4, 1)))
        self.d, self.out = nn.Parameter(torch.ones(4)), nn.Linear(4, 7, bias=False)

    def forward(self, tokens, targets):
        length = tokens.shape[1]
        x, gate = self.into(self.embed(tokens)).split(split_size=[4, 4], dim=-1)
        x = F.silu(self.conv(x.transpose(1, 2))[:, :, :length].transpose(1, 2))
        delta, b, c = self.parts(x).split(split_size=[1, 3, 3], dim=-1)
        delta = F.softplus(self.step(delta))
        decay = torch.exp(torch.einsum("bld,dn->bldn", delta, -torch.exp(self.a)))
        drive = torch.einsum("bld,bln,bld->bldn", delta, b, x)
        state, ys = torch.zeros(2, 4, 3, dtype=x.dtype), []
        for i in range(length):
            state = decay[:, i] * state + drive[:, i]
            ys.append(torch.einsum("bdn,bn->bd", state, c[:, i, :]))
        y = (torch.stack(ys, dim=1) + x * self.d) * F.silu(gate)
        return F.cross_entropy(self.out(y).flatten(0, 1), targets.flatten())


@net(
    real(5, 2, 4),
    torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).double(),
)
class Episodes(nn.Module):
    """A GRU that is fed step by step and forgets where an episode ended."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 3)
        for name, p in self.gru.named_parameters():
            nn.init.zeros_(p) if "bias" in name else nn.init.orthogonal_(p)

    def forward(self, x, alive):
        h, out = torch.zeros(1, 2, 3, dtype=x.dtype), []
        for now, mask in zip(x, alive, strict=True):
            y, h = self.gru(now.unsqueeze(0), h * mask.view(1, -1, 1))
            out.append(y)
        return torch.cat(out, dim=0).pow(2).sum()


@net(real(4, 2, 3, 3))
class Flow(nn.Module):
    """A normalising flow: actnorm, an invertible 1 x 1 convolution, an affine coupling."""

    def __init__(self):
        super().__init__()
        self.scale, self.bias = (
            nn.Parameter(torch.randn(1, 2, 1, 1).exp()),
            nn.Parameter(torch.randn(1, 2, 1, 1)),
        )
        self.w = nn.Parameter(torch.linalg.qr(torch.randn(2, 2))[0])
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3, padding=1)
        )

    def forward(self, x):
        n = x.shape[2] * x.shape[3]
        z = (x - self.bias) / self.scale
        logdet = -self.scale.abs().log().sum() * n + torch.slogdet(self.w)[-1] * n
        a, b = F.conv2d(z, self.w.view(2, 2, 1, 1)).chunk(2, 1)
        h = self.net(a)
        t, s = h[:, 0::2, :, :], torch.sigmoid(h[:, 1::2, :, :] + 2)
        z = torch.cat([a, s * b + t], dim=1)
        base = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
        return -(base.log_prob(z).sum([1, 2, 3]) + s.log().sum([1, 2, 3]) + logdet).mean()


@net(real(5, 3), whole(2, 5))
class Splines(nn.Module):
    """B-splines of the inputs by their recursion, weights for each edge (a KAN layer)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", (torch.arange(-2, 8) * 0.5 - 1).expand(3, -1).contiguous())
        self.base, self.weight = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(2, 3, 7))

    def forward(self, x, y):
        grid, x3 = self.grid, x.unsqueeze(-1)
        bases = ((x3 >= grid[:, :-1]) & (x3 < grid[:, 1:])).to(x.dtype)
        for k in range(1, 3):
            left = (
                (x3 - grid[:, : -(k + 1)])
                / (grid[:, k:-1] - grid[:, : -(k + 1)])
                * bases[:, :, :-1]
            )
            right = (grid[:, k + 1 :] - x3) / (grid[:, k + 1 :] - grid[:, 1:-k]) * bases[:, :, 1:]
            bases = left + right
        out = F.linear(F.silu(x), self.base) + F.linear(bases.view(5, -1), self.weight.view(2, -1))
        size = self.weight.abs().mean(-1)
        p = size / size.sum()
        return F.cross_entropy(out, y) - 0.1 * torch.sum(p * p.log())


@net(real(4, 2))
class Ode(nn.Module):
    """Fixed steps of Runge-Kutta, the path written into a tensor that was empty."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2))

    def forward(self, y0):
        f, dt = (lambda y: self.net(y**3)), 0.25
        path = torch.empty(4, *y0.shape, dtype=y0.dtype)
        path[0] = y = y0
        for k in range(1, 4):
            k1 = f(y)
            k2 = f(y + dt * k1 / 3)
            k3 = f(y + dt * (k2 - k1 / 3))
            y = y + (k1 + 3 * (k2 + k3) + f(y + dt * (k1 - k2 + k3))) * dt * 0.125
            path[k] = y
        return path.abs().mean()


@net(real(2, 3, 10), whole(4, 2))
class Dilated(nn.Module):
    """Dilated causal convolutions under weight norm, gated, with skips (WaveNet, TCN)."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 1))
        self.gates = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 8, 2, padding=d, dilation=d))
            for d in (1, 2)
        )
        self.skips, self.out = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(2)), nn.Linear(4, 4)

    def forward(self, x, y):
        h, skips = self.first(x), 0
        for gate, skip, d in zip(self.gates, self.skips, (1, 2), strict=True):
            a, b = (
                gate(F.dropout(h, 0.05, training=self.training))[:, :, :-d]
                .contiguous()
                .chunk(2, dim=1)
            )
            z = torch.tanh(a) * torch.sigmoid(b)
            skips = skips + skip(z)
            h = (z + h) * math.sqrt(0.5)
        return F.cross_entropy(self.out(F.relu(skips)[:, :, -1]), y)


@net(real(2, 3, 4), whole(5, 2))
class Capsules(nn.Module):
    """Capsules with routing by agreement and the margin loss."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 5, 4, 6))

    def forward(self, u, y):
        votes = torch.einsum("ijnm,bin->bijm", self.w, u)
        b = votes.new_zeros(2, 3, 5)
        for _ in range(3):
            s = torch.einsum("bij,bijm->bjm", F.softmax(b, dim=-1), votes)
            s2 = (s**2).sum(dim=-1, keepdim=True)
            v = (s2 / (1 + s2)) * (s / torch.sqrt(s2 + 1e-8))
            b = b + torch.einsum("bjm,bijm->bij", v, votes)
        length = torch.sqrt((v**2).sum(dim=-1))
        labels = torch.eye(5, dtype=u.dtype)[y]
        loss = labels * F.relu(0.9 - length) ** 2 + 0.5 * (1.0 - labels) * F.relu(length - 0.1) ** 2
        return loss.sum(dim=-1).mean()


@net(real(2, 6, 8), real(2, 6, 8, seed=1))
class Rotary(nn.Module):
    """Rotary positions in halves, grouped keys, RMS norm and a gated unit."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (
            nn.Linear(8, 8, bias=False),
            nn.Linear(8, 4, bias=False),
            nn.Linear(8, 4, bias=False),
        )
        self.weight, self.w1, self.w2, self.w3 = (
            nn.Parameter(torch.ones(8)),
            nn.Linear(8, 6),
            nn.Linear(6, 8),
            nn.Linear(8, 6),
        )

    def turned(self, x):
        angle = torch.outer(
            torch.arange(6), 1.0 / 10000 ** (torch.arange(0, 4, 2)[:2].double() / 4)
        )
        cos, sin = (
            f(torch.cat([angle, angle], dim=-1))[None, :, None] for f in (torch.cos, torch.sin)
        )
        return x * cos + torch.cat([-x[..., 2:], x[..., :2]], dim=-1) * sin

    def forward(self, x, y):
        h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
        q, k = self.turned(self.q(h).view(2, 6, 2, 4)), self.turned(self.k(h).view(2, 6, 1, 4))
        k, v = (
            z[:, :, :, None, :].expand(2, 6, 1, 2, 4).reshape(2, 6, 2, 4)
            for z in (k, self.v(h).view(2, 6, 1, 4))
        )
        scores = torch.matmul(q.transpose(1, 2), k.permute(0, 2, 3, 1)) / math.sqrt(4)
        scores = scores + torch.full((6, 6), float("-inf"), dtype=x.dtype).triu(1)
        h = x + (scores.softmax(dim=-1) @ v.transpose(1, 2)).transpose(1, 2).reshape(2, 6, 8)
        return F.mse_loss(h + self.w2(F.silu(self.w1(h)) * self.w3(h)), y)


@pytest.mark.parametrize("name", net.every)
def test_every_gradient_is_autograds(name):
    derives_right(*net.made(name))


@pytest.mark.native
@pytest.mark.filterwarnings("ignore:.*this step runs in eager PyTorch:UserWarning")
@pytest.mark.parametrize("name", ["Scan", "Episodes"])
def test_compiled_steps_are_eager_pytorchs(name):
    step = steps_right(*net.made(name))
    assert step.backend == "native" or step.note
