"""Softmax and its kin: masked attention weights, log-softmax, logsumexp."""

from simplify.cases.declare import (
    case,
    causal,
    real,
    spelling,
)

SIZES = ({"n": 5, "V": 7}, {"n": 6, "V": 3}, {"n": 3, "V": 11})

SOFTMAX = case(
    "softmax",
    {"x": real("n", "V")},
    SIZES,
    "dx",
    (
        spelling(
            "small steps, shifted by the max",
            """
            m = x.max(1, keepdim=True).values
            z = x - m
            e = z.exp()
            s = e.sum(1, keepdim=True)
            s_inv = s**-1
            y = e * s_inv
            """,
            "dx = y * (dy - (dy * y).sum(1, keepdim=True))",
            4,
        ),
        spelling(
            "no shift, divided",
            """
            e = torch.exp(x)
            s = e.sum(dim=1, keepdims=True)
            y = e / s
            """,
            "dx = y * (dy - (dy * y).sum(1, keepdim=True))",
            4,
        ),
        spelling(
            "axes put back with None",
            """
            m = x.amax(1)
            e = torch.exp(x - m[:, None])
            s = torch.sum(e, dim=1)
            y = e / s[:, None]
            """,
            "dx = y * (dy - (dy * y).sum(1, keepdim=True))",
            4,
        ),
        spelling(
            "through logsumexp",
            """
            l = torch.logsumexp(x, dim=1, keepdim=True)
            y = (x - l).exp()
            """,
            "dx = y * (dy - (dy * y).sum(1, keepdim=True))",
            4,
        ),
        spelling(
            "shift cut off from the gradient",
            """
            m = x.detach().max(dim=1, keepdim=True)[0]
            e = (x - m).exp()
            y = e / e.sum(1, keepdim=True)
            """,
            "dx = y * (dy - (dy * y).sum(1, keepdim=True))",
            4,
        ),
        spelling(
            "torch",
            "y = F.softmax(x, dim=1)",
            "dx = y * (dy - (dy * y).sum(1, keepdim=True))",
            4,
        ),
    ),
)

ATTENTION = case(
    "attention weights",
    {"scores": real("n", "T", "T"), "mask": causal("T", "T"), "scale": "d"},
    ({"n": 3, "T": 5, "d": 4}, {"n": 2, "T": 3, "d": 7}, {"n": 1, "T": 6, "d": 2}),
    "dscores",
    (
        spelling(
            "small steps",
            """
            scaled = scores / scale**0.5
            masked = scaled.masked_fill(mask, float("-inf"))
            m = masked.max(-1, keepdim=True).values
            e = (masked - m).exp()
            s = e.sum(-1, keepdim=True)
            weights = e / s
            """,
            """
            dmasked = weights * (dweights - (dweights * weights).sum(-1, keepdim=True))
            dscores = dmasked.masked_fill(mask, 0) / scale**0.5
            """,
            6,
        ),
        spelling(
            "filled with where, no shift",
            """
            masked = torch.where(mask, -torch.inf, scores * scale**-0.5)
            e = masked.exp()
            weights = e / e.sum(dim=-1, keepdim=True)
            """,
            """
            dmasked = weights * (dweights - (dweights * weights).sum(-1, keepdim=True))
            dscores = torch.where(mask, 0, dmasked) * scale**-0.5
            """,
            6,
        ),
        spelling(
            "torch",
            """
            masked = (scores / scale**0.5).masked_fill(mask, -torch.inf)
            weights = masked.softmax(-1)
            """,
            """
            dmasked = weights * (dweights - (dweights * weights).sum(-1, keepdim=True))
            dscores = dmasked.masked_fill(mask, 0) / scale**0.5
            """,
            6,
        ),
    ),
)

LOG_SOFTMAX = case(
    "log-softmax",
    {"x": real("n", "V")},
    SIZES,
    "dx",
    (
        spelling(
            "small steps, shifted by the max",
            """
            m = x.max(1, keepdim=True).values
            z = x - m
            e = z.exp()
            s = e.sum(1, keepdim=True)
            p = e / s
            y = p.log()
            """,
            "dx = dy - p * dy.sum(1, keepdim=True)",
            3,
        ),
        spelling(
            "shift less the log of the sum",
            """
            z = x - x.amax(dim=1, keepdim=True)
            l = torch.log(torch.exp(z).sum(1, keepdim=True))
            y = z - l
            """,
            "dx = dy - y.exp() * dy.sum(1, keepdim=True)",
            4,
        ),
        spelling(
            "through logsumexp",
            "y = x - x.logsumexp(1)[:, None]",
            "dx = dy - y.exp() * dy.sum(1, keepdim=True)",
            4,
        ),
        spelling(
            "torch",
            "y = torch.log_softmax(x, dim=1)",
            "dx = dy - y.exp() * dy.sum(1, keepdim=True)",
            4,
        ),
    ),
)

LOGSUMEXP = case(
    "logsumexp",
    {"x": real("n", "V")},
    SIZES,
    "dx",
    (
        spelling(
            "small steps, shifted by the max",
            """
            m = x.max(1, keepdim=True).values
            z = x - m
            e = z.exp()
            s = e.sum(1, keepdim=True)
            l = s.log()
            y = l + m
            """,
            "dx = e * (dy / s)",
            2,
        ),
        spelling(
            "no shift, no axis kept",
            """
            e = x.exp()
            s = e.sum(1)
            y = s.log()
            """,
            "dx = e * (dy / s)[:, None]",
            3,
        ),
        spelling(
            "max put back without its axis",
            """
            m, where = x.max(1)
            s = torch.sum(torch.exp(x - m.unsqueeze(1)), 1)
            y = torch.log(s) + m
            """,
            "dx = dy[:, None] * torch.exp(x - y[:, None])",
            5,
        ),
        spelling(
            "torch",
            "y = x.logsumexp(1, keepdim=True)",
            "dx = dy * torch.exp(x - y)",
            3,
        ),
    ),
)

CASES = (SOFTMAX, ATTENTION, LOG_SOFTMAX, LOGSUMEXP)
