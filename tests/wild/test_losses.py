"""Losses in the ways that public code trains: constants, draws, gradients inside, writes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical, Normal

from agree import double as real
from steps import Cases, derives_right, steps_right, whole

loss = Cases()


@loss(real(4, 6).sigmoid())
class Vae(nn.Module):
    """A variational autoencoder: the noise is drawn in the forward pass."""

    def __init__(self):
        super().__init__()
        self.enc, self.mu, self.log, self.dec = (
            nn.Linear(6, 5),
            nn.Linear(5, 2),
            nn.Linear(5, 2),
            nn.Linear(2, 6),
        )

    def forward(self, x):
        h = F.relu(self.enc(x))
        mu, log = self.mu(h), self.log(h)
        std = torch.exp(0.5 * log)
        z = mu + torch.randn_like(std) * std
        bce = F.binary_cross_entropy(torch.sigmoid(self.dec(z)), x, reduction="sum")
        return bce - 0.5 * torch.sum(1 + log - mu.pow(2) - log.exp())


@loss(real(4, 6), real(4, 2, seed=1))
class OldNoise(nn.Module):
    """Noise as before PyTorch 0.4: a new tensor of the same type, filled in place."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(6, 4)

    def forward(self, x, y):
        mu, log = self.l(x).chunk(2, dim=1)
        std = log.div(2).exp()
        eps = torch.autograd.Variable(std.data.new(std.size()).normal_())
        return (mu + std * eps - y).pow(2).sum()


@loss(real(3, 4, 5), real(3, 2, 4, seed=1))
class Gumbel(nn.Module):
    """A relaxed category, by hand and by the library, and the hard one with a straight path back."""

    def __init__(self):
        super().__init__()
        self.l, self.v = nn.Linear(5, 4), nn.Parameter(torch.randn(4))

    def forward(self, x, y):
        q = self.l(x)
        u = torch.rand_like(q)
        mine = F.softmax((q - torch.log(-torch.log(u + 1e-7) + 1e-7)) / 0.5, dim=-1)
        soft, hard = F.gumbel_softmax(q, tau=0.7), F.gumbel_softmax(q, hard=True)
        return ((mine + soft + hard) * self.v).pow(2).sum()


@loss(real(2, 3, 4, 4), real(2, 4, seed=1))
class Discriminator(nn.Module):
    """Both halves of a discriminator's step: batch norm and dropout run twice, the maker is cut off."""

    def __init__(self):
        super().__init__()
        self.g = nn.Sequential(nn.Linear(4, 48), nn.BatchNorm1d(48, 0.8), nn.Tanh())
        self.d = nn.Sequential(
            *(nn.Conv2d(3, 4, 3, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Dropout2d(0.25)),
            *(nn.BatchNorm2d(4, 0.8), nn.Flatten(), nn.Linear(16, 1), nn.Sigmoid()),
        )

    def forward(self, x, z):
        made = self.g(z).view(2, 3, 4, 4)
        yes, no = torch.full((2, 1), 1.0, dtype=x.dtype), torch.full((2, 1), 0.0, dtype=x.dtype)
        return F.binary_cross_entropy(self.d(x), yes) + F.binary_cross_entropy(
            self.d(made.detach()), no
        )


@loss(real(5, 4), whole(3, 5, 1), real(5, 4, seed=1), real(5).sigmoid())
class DoubleDqn(nn.Module):
    """Double Q-learning: the best action by the net, its value by the target net, no gradient."""

    def __init__(self):
        super().__init__()
        self.q = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
        self.target = copy.deepcopy(self.q).requires_grad_(False)

    def forward(self, now, action, after, reward):
        with torch.no_grad():
            best = self.q(after).argmax(dim=1, keepdim=True)
            goal = reward + 0.99 * self.target(after).gather(1, best).squeeze(1)
        return F.smooth_l1_loss(self.q(now).gather(1, action).squeeze(), goal)


@loss(real(3, 4), whole(2, 3), real(3, 4, seed=1), real(3, 1).sigmoid())
class Distributional(nn.Module):
    """C51: the target's probabilities are shared out among fixed atoms by writes in a loop."""

    def __init__(self):
        super().__init__()
        self.net, self.other = nn.Linear(4, 10), nn.Linear(4, 10)
        self.register_buffer("atoms", torch.linspace(-2, 2, steps=5))

    def forward(self, now, action, after, reward):
        with torch.no_grad():
            p = torch.softmax(self.other(after).view(3, 2, 5), dim=2)
            best = (p * self.atoms).sum(2).argmax(1)
            place = ((reward + 0.9 * self.atoms).clamp(-2, 2) + 2) / 1.0
            low, high = place.floor().clamp(0, 4), place.ceil().clamp(0, 4)
            p = p[torch.arange(3), best]
            goal = torch.zeros_like(p)
            for i in range(3):
                goal[i].index_add_(
                    0, low[i].long(), ((high + (low == high).double() - place) * p)[i]
                )
                goal[i].index_add_(0, high[i].long(), ((place - low) * p)[i])
        mine = torch.softmax(self.net(now).view(3, 2, 5), dim=2)[torch.arange(3), action]
        return (-(goal * mine.clamp(min=1e-5, max=1 - 1e-5).log()).sum(-1)).mean()


@loss(real(5, 4))
class SquashedActor(nn.Module):
    """The actor of SAC: a sample through its noise, squashed, with the density put right."""

    def __init__(self):
        super().__init__()
        self.body, self.mean, self.log = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)
        self.q1, self.q2 = nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, s):
        h = F.relu(self.body(s))
        normal = Normal(self.mean(h), torch.clamp(self.log(h), -20, 2).exp())
        x = normal.rsample()
        a = torch.tanh(x)
        logp = normal.log_prob(x)
        logp -= torch.log(1 * (1 - a.pow(2)) + 1e-6)
        q = torch.min(self.q1(torch.cat([s, a], 1)), self.q2(torch.cat([s, a], 1)))
        return (0.2 * logp.sum(1, keepdim=True) - q).mean()


@loss(real(5, 4), whole(3, 5), real(5, seed=1), real(5, seed=2), real(5, seed=3))
class Ppo(nn.Module):
    """Clipped policy and value losses with an entropy bonus, advantages normed in the batch."""

    def __init__(self):
        super().__init__()
        self.actor, self.critic = (
            nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
            nn.Linear(4, 1),
        )

    def forward(self, s, a, before, gain, value):
        choice = Categorical(logits=self.actor(s))
        change = choice.log_prob(a) - before
        ratio = change.exp()
        with torch.no_grad():
            kl = ((ratio - 1) - change).mean()
        gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        policy = torch.max(-gain * ratio, -gain * torch.clamp(ratio, 0.8, 1.2)).mean()
        v = self.critic(s).view(-1)
        near = value + torch.clamp(v - value, -0.2, 0.2)
        far = torch.max((v - value - gain) ** 2, (near - value - gain) ** 2).mean()
        return policy - 0.01 * choice.entropy().mean() + 0.25 * far


@loss(real(4, 5))
class Codes(nn.Module):
    """Vector quantisation: the nearest code, straight through, with both commitment terms."""

    def __init__(self):
        super().__init__()
        self.enc, self.codes, self.dec = nn.Linear(5, 3), nn.Embedding(6, 3), nn.Linear(3, 5)

    def forward(self, x):
        z = self.enc(x)
        apart = torch.sum(z**2, dim=1, keepdim=True) + torch.sum(self.codes.weight**2, dim=1)
        near = torch.argmin(apart - 2 * torch.matmul(z, self.codes.weight.t()), dim=1).unsqueeze(1)
        onehot = torch.zeros(4, 6, dtype=x.dtype)
        onehot.scatter_(1, near, 1)
        q = torch.matmul(onehot, self.codes.weight)
        commit = F.mse_loss(q.detach(), z) * 0.25 + F.mse_loss(q, z.detach())
        return F.mse_loss(self.dec(z + (q - z).detach()), x) + commit


class Spike(torch.autograd.Function):
    """A step forward, a smooth slope back."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy / (1 + 25 * x.abs()) ** 2


@loss(real(3, 2, 4), whole(3, 2))
class Spikes(nn.Module):
    """Leaky neurons over time with a surrogate slope and a reset that is cut off."""

    def __init__(self):
        super().__init__()
        self.l1, self.l2, self.beta = (
            nn.Linear(4, 5),
            nn.Linear(5, 3),
            nn.Parameter(torch.tensor(0.9)),
        )

    def forward(self, x, y):
        v, total = torch.zeros(2, 5, dtype=x.dtype), 0
        for now in x:
            reset = Spike.apply(v - 0.5).detach()
            v = self.beta.clamp(0, 1) * v + self.l1(now) - reset * 0.5
            total = total + self.l2(Spike.apply(v - 0.5))
        return F.cross_entropy(total, y)


class Reversed(torch.autograd.Function):
    """Nothing forward, the gradient turned round and scaled back."""

    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, dy):
        return dy.neg() * ctx.alpha, None


@loss(real(4, 3), whole(2, 4), real(4, 3, seed=1))
class Domains(nn.Module):
    """Domain-adversarial training: one head learns against the features."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(True))
        self.label, self.domain = (
            nn.Sequential(nn.Linear(5, 2), nn.LogSoftmax(dim=1)),
            nn.Linear(5, 2),
        )

    def forward(self, x, y, other):
        h = self.f(x)
        domain = F.cross_entropy(self.domain(Reversed.apply(h, 0.3)), torch.zeros(4).long())
        away = F.cross_entropy(
            self.domain(Reversed.apply(self.f(other), 0.3)), torch.ones(4).long()
        )
        return F.nll_loss(self.label(h), y) + domain + away


@loss(real(5, 1), real(5, 1, seed=1))
class Physics(nn.Module):
    """A physics-informed loss: first and second derivatives of the net by its input."""

    def __init__(self):
        super().__init__()
        self.l1, self.l2 = nn.Linear(1, 6), nn.Linear(6, 1)

    def forward(self, t, f):
        t = t.clone().detach().requires_grad_(True)
        u = self.l2(torch.sin(3 * self.l1(t)))
        du = torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)[0]
        ddu = torch.autograd.grad(du, t, torch.ones_like(du), create_graph=True)[0]
        return ((ddu + u * du - f) ** 2).mean() + (u[0] - 1).pow(2).sum()


@loss(real(4, 3), real(4, 3, seed=1))
class Bootstrap(nn.Module):
    """Two views, a slow target net without gradients, cosine distances both ways (BYOL)."""

    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
        self.slow, self.guess = copy.deepcopy(self.online), nn.Linear(3, 3)

    def forward(self, a, b):
        p, q = (F.normalize(self.guess(self.online(x)), dim=-1, p=2) for x in (a, b))
        with torch.no_grad():
            s, t = (F.normalize(self.slow(x), dim=-1, p=2).detach() for x in (a, b))
        return (2 - 2 * (p * t).sum(dim=-1) + 2 - 2 * (q * s).sum(dim=-1)).mean()


@loss(real(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]))
class Contrast(nn.Module):
    """All pairs of a batch: a mask made by fill_diagonal_, the hardest pairs, temperature."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 3)

    def forward(self, x, y):
        z = F.normalize(self.l(x))
        same = y.unsqueeze(1) == y.unsqueeze(0)
        other = ~same
        same.fill_diagonal_(False)
        near = z @ z.t() / 0.1
        top = near.masked_fill(torch.eye(6, dtype=torch.bool), float("-inf")).logsumexp(1)
        pairs = torch.where(same)
        apart = (z.unsqueeze(1) - z.unsqueeze(0)).pow(2).sum(-1)
        worst = (apart * same).max(1).values - apart.masked_fill(~other, 9.0).min(1).values
        return (top[pairs[0]] - near[pairs]).mean() + F.relu(worst + 0.2).mean()


@loss(real(2, 6, 4))
class Masked(nn.Module):
    """A masked autoencoder: tokens shuffled by noise, the hidden ones put in by their rows."""

    def __init__(self):
        super().__init__()
        self.enc, self.dec, self.mask, self.place = (
            nn.Linear(4, 3),
            nn.Linear(3, 4),
            nn.Parameter(torch.randn(3)),
            nn.Embedding(6, 3),
        )

    def forward(self, x):
        order = torch.rand(2, 6).argsort(dim=-1)
        hidden, seen = order[:, :4], order[:, 4:]
        rows = torch.arange(2)[:, None]
        h = self.enc(x[rows, seen]) + self.place(seen)
        full = torch.zeros(2, 6, 3, dtype=x.dtype)
        full[rows, seen] = h
        full[rows, hidden] = self.mask + self.place(hidden)
        return F.mse_loss(self.dec(full)[rows, hidden], x[rows, hidden])


@loss(real(4, 3, 6, 6))
class Noised(nn.Module):
    """A diffusion loss: a random step and random noise, mixed by gathered coefficients."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.time = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 3, 3, padding=1),
            nn.Linear(2, 4),
        )
        self.norm = nn.GroupNorm(2, 4)
        self.register_buffer("bar", torch.cumprod(1 - torch.linspace(1e-4, 0.02, 10), dim=0))

    def forward(self, x):
        t = torch.randint(0, 10, (4,))
        noise = torch.randn_like(x)
        a = self.bar.gather(-1, t).reshape(-1, 1, 1, 1)
        seen = a**0.5 * x + (1 - a).sqrt() * noise
        angle = t[:, None].to(x.dtype) * 0.3
        h = self.c1(seen) + self.time(torch.cat([angle.sin(), angle.cos()], 1))[:, :, None, None]
        return F.mse_loss(noise, self.c2(F.dropout(F.silu(self.norm(h)), 0.1)))


@pytest.mark.parametrize("name", loss.every)
def test_every_gradient_is_autograds(name):
    derives_right(*loss.made(name))


@pytest.mark.native
@pytest.mark.filterwarnings("ignore:.*this step runs in eager PyTorch:UserWarning")
@pytest.mark.parametrize(
    "name", ["Vae", "Discriminator", "DoubleDqn", "Codes", "Spikes", "Bootstrap", "Masked"]
)
def test_compiled_steps_are_eager_pytorchs(name):
    step = steps_right(*loss.made(name))
    assert step.backend == "native" or step.note
