"""Activations written with exponentials: sigmoid, tanh, softplus, silu."""

from simplify.cases.declare import case, real, spelling

SIZES = ({"n": 5, "H": 3}, {"n": 2, "H": 7}, {"n": 11, "H": 2})
ENTRIES = {"x": real("n", "H")}

SIGMOID = case(
    "sigmoid",
    ENTRIES,
    SIZES,
    "dx",
    (
        spelling(
            "small steps",
            """
            e = (-x).exp()
            d = 1 + e
            y = d**-1
            """,
            "dx = dy * y * (1 - y)",
            3,
        ),
        spelling(
            "e over one plus e",
            """
            e = torch.exp(x)
            y = e / (1 + e)
            """,
            "dx = dy * y * (1 - y)",
            3,
        ),
        spelling("one line", "y = 1 / (1 + torch.exp(-x))", "dx = dy * y * (1 - y)", 3),
        spelling(
            "from tanh",
            """
            half = torch.tanh(x / 2)
            y = (1 + half) / 2
            """,
            "dx = dy * y * (1 - y)",
            3,
        ),
        spelling("torch", "y = torch.sigmoid(x)", "dx = dy * y * (1 - y)", 3),
    ),
)

TANH = case(
    "tanh",
    ENTRIES,
    SIZES,
    "dx",
    (
        spelling(
            "from exp(2x)",
            """
            e = (2 * x).exp()
            a = e - 1
            c = e + 1
            y = a / c
            """,
            "dx = dy * (1 - y**2)",
            3,
        ),
        spelling(
            "two exponentials",
            """
            up = torch.exp(x)
            down = torch.exp(-x)
            y = (up - down) / (up + down)
            """,
            "dx = dy * (1 - y**2)",
            3,
        ),
        spelling(
            "one less a quotient",
            """
            e = (-2 * x).exp()
            y = 2 / (1 + e) - 1
            """,
            "dx = dy * (1 - y**2)",
            3,
        ),
        spelling(
            "from sigmoid",
            """
            s = torch.sigmoid(2 * x)
            y = 2 * s - 1
            """,
            "dx = dy * (1 - y**2)",
            3,
        ),
        spelling("torch", "y = x.tanh()", "dx = dy * (1 - y**2)", 3),
    ),
)

SOFTPLUS = case(
    "softplus",
    ENTRIES,
    SIZES,
    "dx",
    (
        spelling(
            "small steps",
            """
            e = x.exp()
            c = 1 + e
            y = c.log()
            """,
            "dx = dy * e / c",
            2,
        ),
        spelling("log1p", "y = torch.log1p(torch.exp(x))", "dx = dy * torch.sigmoid(x)", 2),
        spelling(
            "less the log of a sigmoid",
            """
            p = torch.sigmoid(-x)
            y = -torch.log(p)
            """,
            "dx = dy * (1 - p)",
            2,
        ),
        spelling(
            "torch",
            "y = F.softplus(x)",
            "dx = dy * torch.where(x > 20, 1, torch.sigmoid(x))",
            4,
        ),
    ),
)

SILU = case(
    "silu",
    ENTRIES,
    SIZES,
    "dx",
    (
        spelling(
            "small steps",
            """
            e = (-x).exp()
            d = 1 + e
            s = 1 / d
            y = x * s
            """,
            "dx = dy * (s + y * (1 - s))",
            4,
        ),
        spelling(
            "times torch.sigmoid",
            """
            s = torch.sigmoid(x)
            y = x * s
            """,
            "dx = dy * (s + y * (1 - s))",
            4,
        ),
        spelling(
            "divided",
            """
            d = 1 + torch.exp(-x)
            y = x / d
            """,
            "dx = dy * (1 + x - y) / d",
            4,
        ),
        spelling(
            "torch",
            "y = F.silu(x)",
            """
            s = torch.sigmoid(x)
            dx = dy * (s + y * (1 - s))
            """,
            5,
        ),
    ),
)

CASES = (SIGMOID, TANH, SOFTPLUS, SILU)
