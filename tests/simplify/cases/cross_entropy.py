"""Cross-entropy, plain and with its options, and KL to a teacher."""

from simplify.cases.declare import (
    case,
    distribution,
    labels,
    real,
    some_ignored,
    spelling,
)

SIZES = ({"n": 5, "V": 7}, {"n": 6, "V": 3}, {"n": 3, "V": 11})

CROSS_ENTROPY = case(
    "cross-entropy",
    {"logits": real("n", "V"), "Yb": labels("n", below="V"), "n": "n"},
    SIZES,
    "dlogits",
    (
        spelling(
            "small steps",
            """
            logit_maxes = logits.max(1, keepdim=True).values
            norm_logits = logits - logit_maxes
            counts = norm_logits.exp()
            counts_sum = counts.sum(1, keepdims=True)
            counts_sum_inv = counts_sum**-1
            probs = counts * counts_sum_inv
            logprobs = probs.log()
            loss = -logprobs[range(n), Yb].mean()
            """,
            "dlogits = dloss * (probs - F.one_hot(Yb, logits.shape[1])) / n",
            3,
        ),
        spelling(
            "no shift, gathered",
            """
            counts = logits.exp()
            probs = counts / counts.sum(1, keepdim=True)
            picked = probs.gather(1, Yb[:, None])
            loss = -picked.log().sum() / n
            """,
            "dlogits = dloss * (probs - F.one_hot(Yb, logits.shape[1])) / n",
            3,
        ),
        spelling(
            "true logit less logsumexp",
            """
            l = torch.logsumexp(logits, dim=1)
            true = logits[torch.arange(n), Yb]
            losses = l - true
            loss = losses.mean()
            """,
            """
            probs = (logits - l[:, None]).exp()
            dlogits = dloss * (probs - F.one_hot(Yb, logits.shape[1])) / n
            """,
            6,
        ),
        spelling(
            "times one-hot rows",
            """
            onehot = F.one_hot(Yb, logits.shape[1]).to(logits.dtype)
            z = logits - logits.amax(1, keepdim=True)
            e = z.exp()
            probs = e / e.sum(1, keepdim=True)
            loss = -(onehot * probs.log()).sum(1).mean()
            """,
            "dlogits = dloss * (probs - onehot) / n",
            2,
        ),
        spelling(
            "log_softmax and nll_loss",
            """
            logprobs = F.log_softmax(logits, dim=1)
            loss = F.nll_loss(logprobs, Yb)
            """,
            "dlogits = dloss * (logprobs.exp() - F.one_hot(Yb, logits.shape[1])) / n",
            4,
        ),
        spelling(
            "torch",
            "loss = F.cross_entropy(logits, Yb)",
            "dlogits = dloss * (logits.softmax(1) - F.one_hot(Yb, logits.shape[1])) / n",
            4,
        ),
    ),
)

SMOOTHED = case(
    "cross-entropy, label smoothing",
    {"logits": real("n", "V"), "Yb": labels("n", below="V"), "n": "n", "V": "V"},
    SIZES,
    "dlogits",
    (
        spelling(
            "soft targets",
            """
            onehot = F.one_hot(Yb, V).to(logits.dtype)
            q = 0.9 * onehot + 0.1 / V
            z = logits - logits.max(1, keepdim=True).values
            counts = z.exp()
            probs = counts / counts.sum(1, keepdim=True)
            losses = -(q * probs.log()).sum(1)
            loss = losses.mean()
            """,
            "dlogits = dloss * (probs - q) / n",
            2,
        ),
        spelling(
            "two losses mixed",
            """
            logprobs = logits.log_softmax(1)
            probs = logprobs.exp()
            nll = -logprobs[range(n), Yb].mean()
            smooth = -logprobs.mean(1).mean()
            loss = 0.9 * nll + 0.1 * smooth
            """,
            """
            onehot = F.one_hot(Yb, V).to(logits.dtype)
            dlogits = dloss * (probs - 0.9 * onehot - 0.1 / V) / n
            """,
            6,
        ),
        spelling(
            "torch",
            "loss = F.cross_entropy(logits, Yb, label_smoothing=0.1)",
            """
            onehot = F.one_hot(Yb, V).to(logits.dtype)
            dlogits = dloss * (logits.softmax(1) - 0.9 * onehot - 0.1 / V) / n
            """,
            7,
        ),
    ),
)

TEMPERATURE = case(
    "cross-entropy, temperature",
    {"logits": real("n", "V"), "Yb": labels("n", below="V"), "n": "n", "T": "T"},
    ({"n": 5, "V": 7, "T": 3}, {"n": 6, "V": 3, "T": 2}, {"n": 3, "V": 11, "T": 4}),
    "dlogits",
    (
        spelling(
            "small steps",
            """
            cooled = logits / T
            z = cooled - cooled.max(1, keepdim=True).values
            counts = z.exp()
            counts_sum = counts.sum(1, keepdim=True)
            probs = counts / counts_sum
            logprobs = probs.log()
            loss = -logprobs[range(n), Yb].mean()
            """,
            "dlogits = dloss * (probs - F.one_hot(Yb, logits.shape[1])) / (n * T)",
            3,
        ),
        spelling(
            "a number, one-hot rows, no shift",
            """
            onehot = F.one_hot(Yb, num_classes=logits.shape[1])
            counts = (0.5 * logits).exp()
            probs = counts / counts.sum(1)[:, None]
            loss = -(onehot * probs.log()).sum() / n
            """,
            "dlogits = dloss * (probs - onehot) * (0.5 / n)",
            2,
        ),
        spelling(
            "torch",
            "loss = F.cross_entropy(logits / T, Yb)",
            "dlogits = dloss * ((logits / T).softmax(1) - F.one_hot(Yb, logits.shape[1])) / (n * T)",
            5,
        ),
    ),
)

IGNORE = case(
    "cross-entropy, ignored labels",
    {"logits": real("n", "V"), "Yb": some_ignored("n", below="V"), "n": "n"},
    SIZES,
    "dlogits",
    (
        spelling(
            "masked after picking",
            """
            keep = (Yb != -100).to(logits.dtype)
            label = torch.where(Yb != -100, Yb, 0)
            counts = (logits - logits.max(1, keepdim=True).values).exp()
            probs = counts / counts.sum(1, keepdim=True)
            losses = -probs.log()[range(n), label]
            kept = losses * keep
            loss = kept.sum() / keep.sum()
            """,
            """
            weight = keep / keep.sum()
            dlogits = dloss * (probs - F.one_hot(label, logits.shape[1])) * weight[:, None]
            """,
            6,
        ),
        spelling(
            "weights",
            """
            weight = (Yb >= 0).to(logits.dtype)
            label = Yb.clamp(min=0)
            logprobs = logits.log_softmax(1)
            probs = logprobs.exp()
            losses = -logprobs.gather(1, label[:, None])[:, 0]
            total = weight.sum()
            loss = (weight * losses).sum() / total
            """,
            """
            share = weight / total
            dlogits = dloss * (probs - F.one_hot(label, logits.shape[1])) * share[:, None]
            """,
            5,
        ),
        spelling(
            "torch",
            "loss = F.cross_entropy(logits, Yb, ignore_index=-100)",
            """
            keep = Yb != -100
            onehot = F.one_hot(torch.where(keep, Yb, 0), logits.shape[1])
            share = keep.to(logits.dtype) / keep.sum()
            dlogits = dloss * (logits.softmax(1) - onehot) * share[:, None]
            """,
            10,
        ),
    ),
)

TEACHER = case(
    "KL to a fixed teacher",
    {"logits": real("n", "V"), "teacher": real("n", "V"), "n": "n"},
    SIZES,
    "dlogits",
    (
        spelling(
            "small steps",
            """
            te = teacher.exp()
            t = te / te.sum(1, keepdim=True)
            counts = (logits - logits.max(1, keepdim=True).values).exp()
            probs = counts / counts.sum(1, keepdim=True)
            rows = (t * (t.log() - probs.log())).sum(1)
            loss = rows.mean()
            """,
            "dlogits = dloss * (probs - t) / n",
            2,
        ),
        spelling(
            "log-probabilities",
            """
            t = teacher.softmax(1)
            logprobs = logits.log_softmax(1)
            probs = logprobs.exp()
            loss = (t * (teacher.log_softmax(1) - logprobs)).sum() / n
            """,
            "dlogits = dloss * (probs - t) / n",
            2,
        ),
        spelling(
            "torch",
            """
            t = F.softmax(teacher, dim=1)
            logprobs = F.log_softmax(logits, dim=1)
            loss = F.kl_div(logprobs, t, reduction="batchmean")
            """,
            "dlogits = dloss * (logprobs.exp() - t) / n",
            3,
        ),
    ),
    leaves="logits",
)

GIVEN_TEACHER = case(
    "KL to given probabilities",
    {"logits": real("n", "V"), "t": distribution("n", "V"), "n": "n"},
    SIZES,
    "dlogits",
    (
        spelling(
            "small steps",
            """
            counts = (logits - logits.max(1, keepdim=True).values).exp()
            probs = counts / counts.sum(1, keepdim=True)
            loss = (t * (t.log() - probs.log())).sum() / n
            """,
            "dlogits = dloss * (probs * t.sum(1, keepdim=True) - t) / n",
            4,
        ),
        spelling(
            "torch",
            """
            logprobs = F.log_softmax(logits, dim=1)
            loss = F.kl_div(logprobs, t, reduction="batchmean")
            """,
            "dlogits = dloss * (logprobs.exp() * t.sum(1, keepdim=True) - t) / n",
            5,
        ),
    ),
    leaves="logits",
)

CASES = (CROSS_ENTROPY, SMOOTHED, TEMPERATURE, IGNORE, TEACHER, GIVEN_TEACHER)
