"""Batch norm: biased, unbiased, and over the channels of images."""

from simplify.cases.declare import Spelling, case, positive, real, spelling
from simplify.cases.norms import AFFINE, IMAGES, TABLE


def batch(name: str, forward: str, scale: str, *, biased: bool) -> Spelling:
    """Declare a batch norm by its forward and what the published form of its gradient scales by."""
    xhat = "xhat" if biased else "n / (n - 1) * xhat"
    sums = f"dy.sum(0, keepdim=True) - {xhat} * (dy * xhat).sum(0, keepdim=True)"
    return spelling(name, forward, f"dx = {scale} / n * (n * dy - {sums})", 10 if biased else 11)


BIASED = case(
    "batch norm, biased",
    AFFINE,
    TABLE,
    "dx",
    (
        batch(
            "small steps",
            """
            mu = x.mean(0, keepdim=True)
            d = x - mu
            d2 = d**2
            var = d2.mean(0, keepdim=True)
            r = (var + 1e-5) ** -0.5
            xhat = d * r
            y = gamma * xhat + beta
            """,
            "gamma * r",
            biased=True,
        ),
        batch(
            "x.var, divided by a root",
            """
            mu = x.mean(0)
            var = x.var(0, unbiased=False)
            std = (var + 1e-5).sqrt()
            xhat = (x - mu) / std
            y = gamma * xhat + beta
            """,
            "gamma / std",
            biased=True,
        ),
        batch(
            "sums over n, a root",
            """
            mu = x.sum(0, keepdim=True) / n
            d = x - mu
            var = 1 / n * (d * d).sum(0, keepdim=True)
            std = torch.sqrt(var + 1e-5)
            xhat = d / std
            y = gamma * xhat + beta
            """,
            "gamma / std",
            biased=True,
        ),
        spelling(
            "torch",
            "y = F.batch_norm(x, None, None, gamma, beta, training=True)",
            """
            r = torch.rsqrt(x.var(0, unbiased=False, keepdim=True) + 1e-5)
            xhat = (x - x.mean(0, keepdim=True)) * r
            dxhat = gamma * dy
            dx = r * (dxhat - dxhat.mean(0, keepdim=True) - xhat * (dxhat * xhat).mean(0, keepdim=True))
            """,
            14,
        ),
    ),
)

UNBIASED = case(
    "batch norm, unbiased",
    {**AFFINE, "gamma": positive(1, "H"), "beta": real(1, "H")},
    TABLE,
    "dx",
    (
        batch(
            "small steps",
            """
            mu = 1 / n * x.sum(0, keepdim=True)
            d = x - mu
            d2 = d**2
            var = 1 / (n - 1) * d2.sum(0, keepdim=True)
            r = (var + 1e-5) ** -0.5
            xhat = d * r
            y = gamma * xhat + beta
            """,
            "gamma * r",
            biased=False,
        ),
        batch(
            "x.var, divided by a root",
            """
            mu = x.mean(0, keepdim=True)
            var = x.var(0, keepdim=True)
            std = torch.sqrt(var + 1e-5)
            xhat = (x - mu) / std
            y = gamma * xhat + beta
            """,
            "gamma / std",
            biased=False,
        ),
        batch(
            "x.var, no axis kept, a power",
            """
            mean = x.mean(dim=0)
            rstd = (x.var(dim=0, unbiased=True) + 1e-5).pow(-0.5)
            xhat = (x - mean) * rstd
            y = gamma * xhat + beta
            """,
            "gamma * rstd",
            biased=False,
        ),
    ),
)

CHANNELS = case(
    "batch norm over channels",
    {"x": real("n", "C", "L"), "gamma": positive("C"), "beta": real("C")},
    IMAGES,
    "dx",
    (
        spelling(
            "small steps",
            """
            mu = x.mean((0, 2), keepdim=True)
            d = x - mu
            var = (d**2).mean((0, 2), keepdim=True)
            r = (var + 1e-5) ** -0.5
            xhat = d * r
            y = xhat * gamma[:, None] + beta[:, None]
            """,
            """
            sums = dy.sum((0, 2), keepdim=True) + xhat * (dy * xhat).sum((0, 2), keepdim=True)
            dx = gamma[:, None] * r * (dy - sums / (x.shape[0] * x.shape[2]))
            """,
            10,
        ),
        spelling(
            "x.var, axes put back with None",
            """
            var = x.var(dim=(0, 2), unbiased=False)
            std = torch.sqrt(var + 1e-5)[None, :, None]
            xhat = (x - x.mean(dim=(0, 2))[None, :, None]) / std
            y = xhat * gamma[None, :, None] + beta[None, :, None]
            """,
            """
            sums = dy.sum((0, 2), keepdim=True) + xhat * (dy * xhat).sum((0, 2), keepdim=True)
            dx = gamma[:, None] / std * (dy - sums / (x.shape[0] * x.shape[2]))
            """,
            10,
        ),
        spelling(
            "torch",
            "y = F.batch_norm(x, None, None, gamma, beta, True)",
            """
            r = torch.rsqrt(x.var((0, 2), unbiased=False, keepdim=True) + 1e-5)
            xhat = (x - x.mean((0, 2), keepdim=True)) * r
            dxhat = dy * gamma[:, None]
            mean = dxhat.mean((0, 2), keepdim=True)
            dx = r * (dxhat - mean - xhat * (dxhat * xhat).mean((0, 2), keepdim=True))
            """,
            15,
        ),
    ),
)

CASES = (BIASED, UNBIASED, CHANNELS)
