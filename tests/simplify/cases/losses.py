"""Losses but for the softmax's: binary cross-entropy, squared error, Gaussian likelihood."""

from simplify.cases.declare import case, positive, real, spelling, unit

ROWS = ({"n": 7}, {"n": 4}, {"n": 11})
TABLE = ({"n": 5, "D": 3}, {"n": 2, "D": 7}, {"n": 6, "D": 4})

BINARY = case(
    "sigmoid and binary cross-entropy",
    {"x": real("n"), "t": unit("n"), "n": "n"},
    ROWS,
    "dx",
    (
        spelling(
            "small steps",
            """
            e = (-x).exp()
            d = 1 + e
            p = d**-1
            q = 1 - p
            lp = p.log()
            lq = q.log()
            losses = t * lp + (1 - t) * lq
            loss = -losses.mean()
            """,
            "dx = dloss * (p - t) / n",
            2,
        ),
        spelling(
            "torch.sigmoid and logs",
            """
            p = torch.sigmoid(x)
            losses = -(t * torch.log(p) + (1 - t) * torch.log(1 - p))
            loss = losses.sum() / n
            """,
            "dx = dloss * (p - t) / n",
            2,
        ),
        spelling(
            "from the logit",
            """
            c = 1 + x.exp()
            losses = c.log() - x * t
            loss = losses.mean()
            """,
            "dx = dloss * (x.sigmoid() - t) / n",
            3,
        ),
        spelling(
            "sigmoid, torch's loss",
            """
            p = x.sigmoid()
            loss = F.binary_cross_entropy(p, t)
            """,
            # where p is 0 or 1 to within 1e-12, torch's loss has less than its true gradient
            """
            v = p * (1 - p)
            dx = dloss * (p - t) * (v / v.clamp(min=1e-12)) / n
            """,
            7,
        ),
        spelling(
            "torch",
            "loss = F.binary_cross_entropy_with_logits(x, t)",
            "dx = dloss * (x.sigmoid() - t) / n",
            3,
        ),
    ),
    leaves="x",
)

SQUARES = case(
    "mean squared error",
    {"pred": real("n", "D"), "target": real("n", "D"), "n": "n"},
    TABLE,
    "dpred",
    (
        spelling(
            "small steps",
            """
            diff = pred - target
            diff2 = diff**2
            loss = diff2.mean()
            """,
            "dpred = dloss * (2 / pred.numel()) * diff",
            1,
        ),
        spelling(
            "rows summed, divided by n",
            """
            diff = target - pred
            rows = (diff * diff).sum(1)
            loss = rows.sum() / n
            """,
            "dpred = dloss * (-2 / n) * diff",
            1,
        ),
        spelling(
            "torch",
            "loss = F.mse_loss(pred, target)",
            "dpred = dloss * (2 / pred.numel()) * (pred - target)",
            2,
        ),
    ),
    leaves="pred",
)

LIKELIHOOD = case(
    "Gaussian likelihood, log-variance",
    {"mu": real("n", "D"), "logvar": real("n", "D"), "t": real("n", "D")},
    TABLE,
    "dmu dlogvar",
    (
        spelling(
            "small steps",
            """
            var = logvar.exp()
            diff = t - mu
            diff2 = diff**2
            ratio = diff2 / var
            losses = 0.5 * (ratio + logvar)
            loss = losses.mean()
            """,
            """
            dmu = dloss * (-1 / mu.numel()) * diff / var
            dlogvar = dloss * (0.5 / mu.numel()) * (1 - ratio)
            """,
            4,
        ),
        spelling(
            "precision, negative log-density summed",
            """
            precision = torch.exp(-logvar)
            losses = logvar / 2 + (t - mu).square() * precision / 2
            loss = losses.sum() / mu.numel()
            """,
            """
            dmu = dloss / mu.numel() * (mu - t) * precision
            dlogvar = dloss * (0.5 / mu.numel()) * (1 - (t - mu).square() * precision)
            """,
            8,
        ),
    ),
    leaves="mu logvar",
)

VARIANCE = case(
    "Gaussian likelihood, variance",
    {"mu": real("n", "D"), "var": positive("n", "D"), "t": real("n", "D")},
    TABLE,
    "dmu dvar",
    (
        spelling(
            "small steps",
            """
            diff = mu - t
            losses = 0.5 * (torch.log(var) + diff**2 / var)
            loss = losses.mean()
            """,
            """
            dmu = dloss / mu.numel() * diff / var
            dvar = dloss * (0.5 / mu.numel()) * (var - diff**2) / var**2
            """,
            7,
        ),
        spelling(
            "torch",
            "loss = F.gaussian_nll_loss(mu, t, var)",
            """
            v = var.clamp(min=1e-6)
            d = mu - t
            dmu = dloss / mu.numel() * d / v
            dvar = dloss * (0.5 / mu.numel()) * (v - d**2) / v**2
            """,
            9,
        ),
    ),
    leaves="mu var",
)

DEVIATION = case(
    "Gaussian likelihood, deviation",
    {"mu": real("n", "D"), "sigma": positive("n", "D"), "t": real("n", "D")},
    TABLE,
    "dmu dsigma",
    (
        spelling(
            "standard score",
            """
            z = (t - mu) / sigma
            losses = 0.5 * z**2 + sigma.log()
            loss = losses.mean()
            """,
            """
            dmu = dloss * (-1 / mu.numel()) * z / sigma
            dsigma = dloss / mu.numel() * (1 - z**2) / sigma
            """,
            6,
        ),
        spelling(
            "variance",
            """
            diff = t - mu
            var = sigma**2
            losses = diff**2 / (2 * var) + 0.5 * torch.log(var)
            loss = losses.mean()
            """,
            """
            dmu = dloss * (-1 / mu.numel()) * diff / var
            dsigma = dloss / mu.numel() * (1 - diff**2 / var) / sigma
            """,
            7,
        ),
    ),
    leaves="mu sigma",
)

CASES = (BINARY, SQUARES, LIKELIHOOD, VARIANCE, DEVIATION)
