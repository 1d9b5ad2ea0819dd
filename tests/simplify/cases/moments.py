"""Lengths, angles and moments: L2 normalising, cosine similarity, standardising, variance."""

from simplify.cases.declare import case, real, spelling

TABLE = ({"n": 5, "H": 7}, {"n": 6, "H": 3}, {"n": 3, "H": 11})
ENTRIES = {"x": real("n", "H"), "n": "n"}
PAIR = {"x": real("n", "H"), "w": real("n", "H")}

LENGTH = case(
    "L2 normalise",
    ENTRIES,
    TABLE,
    "dx",
    (
        spelling(
            "small steps",
            """
            x2 = x**2
            s = x2.sum(1, keepdim=True)
            r = s**-0.5
            y = x * r
            """,
            "dx = r * (dy - y * (dy * y).sum(1, keepdim=True))",
            5,
        ),
        spelling(
            "divided by a root",
            """
            norm = torch.sqrt((x * x).sum(-1, keepdim=True))
            y = x / norm
            """,
            "dx = (dy - y * (dy * y).sum(1, keepdim=True)) / norm",
            5,
        ),
        spelling(
            "x.norm",
            """
            norm = x.norm(dim=1, keepdim=True)
            y = x / norm
            """,
            "dx = (dy - y * (dy * y).sum(1, keepdim=True)) / norm",
            5,
        ),
        spelling(
            "axes put back with None",
            """
            norm = x.pow(2).sum(1).sqrt()
            y = x / norm[:, None]
            """,
            "dx = (dy - y * (dy * y).sum(1, keepdim=True)) / norm[:, None]",
            6,
        ),
        spelling(
            "torch",
            "y = F.normalize(x, dim=1)",
            """
            norm = x.norm(dim=1, keepdim=True)
            tangent = dy - y * (dy * y).sum(1, keepdim=True)
            dx = torch.where(norm > 1e-12, tangent, dy) / norm.clamp(min=1e-12)
            """,
            9,
        ),
    ),
)

COSINE = case(
    "cosine similarity",
    PAIR,
    TABLE,
    "dx",
    (
        spelling(
            "small steps",
            """
            dot = (x * w).sum(1, keepdim=True)
            x2 = x**2
            sx = x2.sum(1, keepdim=True)
            rx = sx**-0.5
            w2 = w**2
            sw = w2.sum(1, keepdim=True)
            rw = sw**-0.5
            y = dot * rx * rw
            """,
            "dx = dy * rx * (rw * w - y * rx * x)",
            6,
        ),
        spelling(
            "unit vectors",
            """
            nx = (x * x).sum(1, keepdim=True).sqrt()
            nw = (w * w).sum(1, keepdim=True).sqrt()
            u = x / nx
            v = w / nw
            y = (u * v).sum(1, keepdim=True)
            """,
            "dx = dy / nx * (v - y * u)",
            4,
        ),
        spelling(
            "x.norm, no axis kept",
            """
            nx = x.norm(dim=1)
            nw = w.norm(dim=1)
            y = (x * w).sum(1) / (nx * nw)
            """,
            """
            scale = dy / nx
            dx = (scale / nw)[:, None] * w - (scale * y / nx)[:, None] * x
            """,
            9,
        ),
        spelling(
            "torch",
            "y = F.cosine_similarity(x, w, dim=1)",
            """
            nx = x.norm(dim=1, keepdim=True).clamp(min=1e-8)
            nw = w.norm(dim=1, keepdim=True).clamp(min=1e-8)
            dx = dy[:, None] / nx * (w / nw - y[:, None] * x / nx)
            """,
            12,
        ),
    ),
)

STANDARD = case(
    "standardise",
    ENTRIES,
    TABLE,
    "dx",
    (
        spelling(
            "small steps",
            """
            mu = x.mean(0, keepdim=True)
            d = x - mu
            var = (d**2).sum(0, keepdim=True) / (n - 1)
            std = var.sqrt()
            y = d / std
            """,
            "dx = (dy - dy.mean(0, keepdim=True) - y * (dy * y).sum(0, keepdim=True) / (n - 1)) / std",
            8,
        ),
        spelling(
            "x.std",
            """
            std = x.std(0, keepdim=True)
            y = (x - x.mean(0, keepdim=True)) / std
            """,
            "dx = (dy - dy.mean(0, keepdim=True) - y * (dy * y).sum(0, keepdim=True) / (n - 1)) / std",
            8,
        ),
        spelling(
            "biased, a power",
            """
            mean = x.mean(0)
            rstd = ((x - mean) ** 2).mean(0) ** -0.5
            y = (x - mean) * rstd
            """,
            "dx = rstd * (dy - dy.mean(0) - y * (dy * y).mean(0))",
            7,
        ),
        spelling(
            "biased x.var",
            """
            std = x.var(0, correction=0).sqrt()
            y = (x - x.mean(0)) / std
            """,
            "dx = (dy - dy.mean(0) - y * (dy * y).mean(0)) / std",
            7,
        ),
    ),
)

VARIANCE = case(
    "variance",
    ENTRIES,
    TABLE,
    "dx",
    (
        spelling(
            "small steps",
            """
            mu = x.mean(0, keepdim=True)
            d = x - mu
            d2 = d**2
            y = d2.sum(0, keepdim=True) / (n - 1)
            """,
            "dx = dy * (2 / (n - 1)) * d",
            2,
        ),
        spelling(
            "mean of squares less square of mean",
            """
            mu = x.mean(0)
            y = (x**2).mean(0) - mu**2
            """,
            "dx = dy * (2 / n) * (x - mu)",
            3,
        ),
        spelling(
            "torch",
            "y = x.var(0)",
            "dx = dy * (2 / (n - 1)) * (x - x.mean(0))",
            4,
        ),
    ),
)

CASES = (LENGTH, COSINE, STANDARD, VARIANCE)
