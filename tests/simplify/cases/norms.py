"""Layer, RMS, group and instance norm."""

from simplify.cases.declare import case, positive, real, spelling

TABLE = ({"n": 5, "H": 7}, {"n": 6, "H": 3}, {"n": 3, "H": 11})
IMAGES = (
    {"n": 3, "C": 4, "L": 5, "G": 2},
    {"n": 2, "C": 6, "L": 3, "G": 3},
    {"n": 5, "C": 2, "L": 7, "G": 1},
)
AFFINE = {"x": real("n", "H"), "gamma": positive("H"), "beta": real("H"), "n": "n", "H": "H"}

LAYER = case(
    "layer norm",
    AFFINE,
    TABLE,
    "dx",
    (
        spelling(
            "small steps",
            """
            mu = x.mean(1, keepdim=True)
            d = x - mu
            d2 = d**2
            var = d2.mean(1, keepdim=True)
            r = (var + 1e-5) ** -0.5
            xhat = d * r
            y = xhat * gamma + beta
            """,
            """
            dxhat = dy * gamma
            dx = r * (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True))
            """,
            8,
        ),
        spelling(
            "x.var, divided by a root",
            """
            mu = x.mean(dim=-1, keepdim=True)
            var = x.var(dim=-1, unbiased=False, keepdim=True)
            std = torch.sqrt(var + 1e-5)
            xhat = (x - mu) / std
            y = gamma * xhat + beta
            """,
            """
            dxhat = dy * gamma
            dx = (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True)) / std
            """,
            8,
        ),
        spelling(
            "sums over H, axes put back with None",
            """
            mu = x.sum(1) / H
            d = x - mu[:, None]
            var = (d * d).sum(1) / H
            rstd = torch.rsqrt(var + 1e-5)
            xhat = d * rstd[:, None]
            y = gamma * xhat + beta
            """,
            """
            dxhat = dy * gamma
            inner = dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True)
            dx = rstd[:, None] * inner
            """,
            9,
        ),
        spelling(
            "mean of squares less square of mean",
            """
            mu = x.mean(1, keepdim=True)
            var = (x**2).mean(1, keepdim=True) - mu**2
            rstd = (var + 1e-5).rsqrt()
            xhat = (x - mu) * rstd
            y = xhat * gamma + beta
            """,
            """
            dxhat = dy * gamma
            dx = rstd * (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True))
            """,
            8,
        ),
        spelling(
            "torch.var_mean",
            """
            var, mu = torch.var_mean(x, dim=1, correction=0, keepdim=True)
            std = (var + 1e-5) ** 0.5
            xhat = (x - mu) / std
            y = xhat * gamma + beta
            """,
            """
            dxhat = dy * gamma
            dx = (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True)) / std
            """,
            8,
        ),
        spelling(
            "torch",
            "y = F.layer_norm(x, x.shape[1:], gamma, beta)",
            """
            r = torch.rsqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5)
            xhat = (x - x.mean(1, keepdim=True)) * r
            dxhat = dy * gamma
            dx = r * (dxhat - dxhat.mean(1, keepdim=True) - xhat * (dxhat * xhat).mean(1, keepdim=True))
            """,
            14,
        ),
    ),
)

RMS = case(
    "RMS norm",
    AFFINE,
    TABLE,
    "dx",
    (
        spelling(
            "small steps",
            """
            x2 = x**2
            ms = x2.mean(1, keepdim=True)
            r = (ms + 1e-6) ** -0.5
            xhat = x * r
            y = xhat * gamma
            """,
            """
            dxhat = dy * gamma
            dx = r * (dxhat - xhat * (dxhat * xhat).mean(1, keepdim=True))
            """,
            6,
        ),
        spelling(
            "divided by a root",
            """
            rms = ((x * x).sum(-1, keepdim=True) / H + 1e-6).sqrt()
            xhat = x / rms
            y = gamma * xhat
            """,
            """
            dxhat = dy * gamma
            dx = (dxhat - xhat * (dxhat * xhat).mean(1, keepdim=True)) / rms
            """,
            6,
        ),
        spelling(
            "rsqrt in one line",
            """
            xhat = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
            y = xhat * gamma
            """,
            """
            r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
            dxhat = dy * gamma
            dx = r * (dxhat - xhat * (dxhat * xhat).mean(1, keepdim=True))
            """,
            10,
        ),
        spelling(
            "torch",
            "y = F.rms_norm(x, x.shape[1:], gamma, eps=1e-6)",
            """
            r = torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6)
            xhat = x * r
            dxhat = dy * gamma
            dx = r * (dxhat - xhat * (dxhat * xhat).mean(1, keepdim=True))
            """,
            11,
        ),
    ),
)

GROUP = case(
    "group norm",
    {"x": real("n", "C", "L"), "gamma": positive("C"), "beta": real("C"), "n": "n", "G": "G"},
    IMAGES,
    "dx",
    (
        spelling(
            "small steps",
            """
            xg = x.reshape(n, G, -1)
            mu = xg.mean(2, keepdim=True)
            d = xg - mu
            var = (d**2).mean(2, keepdim=True)
            r = (var + 1e-5) ** -0.5
            ghat = d * r
            xhat = ghat.reshape(x.shape)
            y = xhat * gamma[:, None] + beta[:, None]
            """,
            """
            dghat = (dy * gamma[:, None]).reshape(ghat.shape)
            dxg = r * (dghat - dghat.mean(2, keepdim=True) - ghat * (dghat * ghat).mean(2, keepdim=True))
            dx = dxg.reshape(x.shape)
            """,
            11,
        ),
        spelling(
            "x.var, divided by a root",
            """
            xg = x.view(n, G, x.shape[1] // G, x.shape[2])
            mu = xg.mean((2, 3), keepdim=True)
            var = xg.var((2, 3), unbiased=False, keepdim=True)
            std = (var + 1e-5).sqrt()
            ghat = (xg - mu) / std
            y = ghat.view_as(x) * gamma.view(1, -1, 1) + beta.view(1, -1, 1)
            """,
            """
            dghat = (dy * gamma.view(1, -1, 1)).reshape(ghat.shape)
            mean = dghat.mean((2, 3), keepdim=True)
            dxg = (dghat - mean - ghat * (dghat * ghat).mean((2, 3), keepdim=True)) / std
            dx = dxg.reshape(x.shape)
            """,
            11,
        ),
        spelling(
            "torch",
            "y = F.group_norm(x, G, gamma, beta)",
            """
            xg = x.reshape(n, G, -1)
            r = torch.rsqrt(xg.var(2, unbiased=False, keepdim=True) + 1e-5)
            ghat = (xg - xg.mean(2, keepdim=True)) * r
            dghat = (dy * gamma[:, None]).reshape(ghat.shape)
            dxg = r * (dghat - dghat.mean(2, keepdim=True) - ghat * (dghat * ghat).mean(2, keepdim=True))
            dx = dxg.reshape(x.shape)
            """,
            18,
        ),
    ),
)

INSTANCE = case(
    "instance norm",
    {"x": real("n", "C", "L"), "gamma": positive("C"), "beta": real("C")},
    IMAGES,
    "dx",
    (
        spelling(
            "small steps",
            """
            mu = x.mean(2, keepdim=True)
            d = x - mu
            var = (d**2).mean(2, keepdim=True)
            r = (var + 1e-5) ** -0.5
            xhat = d * r
            y = xhat * gamma[:, None] + beta[:, None]
            """,
            """
            dxhat = dy * gamma[:, None]
            dx = r * (dxhat - dxhat.mean(2, keepdim=True) - xhat * (dxhat * xhat).mean(2, keepdim=True))
            """,
            9,
        ),
        spelling(
            "x.var, divided by a root",
            """
            std = torch.sqrt(x.var(-1, correction=0, keepdim=True) + 1e-5)
            xhat = (x - x.mean(-1, keepdim=True)) / std
            y = xhat * gamma.unsqueeze(-1) + beta.unsqueeze(-1)
            """,
            """
            dxhat = dy * gamma[:, None]
            dx = (dxhat - dxhat.mean(2, keepdim=True) - xhat * (dxhat * xhat).mean(2, keepdim=True)) / std
            """,
            9,
        ),
        spelling(
            "torch",
            "y = F.instance_norm(x, weight=gamma, bias=beta)",
            """
            r = torch.rsqrt(x.var(2, unbiased=False, keepdim=True) + 1e-5)
            xhat = (x - x.mean(2, keepdim=True)) * r
            dxhat = dy * gamma[:, None]
            dx = r * (dxhat - dxhat.mean(2, keepdim=True) - xhat * (dxhat * xhat).mean(2, keepdim=True))
            """,
            15,
        ),
    ),
)


CASES = (LAYER, RMS, GROUP, INSTANCE)
