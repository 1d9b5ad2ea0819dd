"""Custom Functions as people write them: right ones and wrong ones, for the tests of a checker."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd import Function

generator = torch.Generator()


def tensor(*shape: int, seed: int = 0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * y


class ExpSavesInput(Exp):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()


class Linear(Function):
    @staticmethod
    def forward(x, W, b):
        return x @ W + b

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, W, b = inputs
        ctx.save_for_backward(x, W)

    @staticmethod
    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        dx = dW = db = None
        if ctx.needs_input_grad[0]:
            dx = dy @ W.mT
        if ctx.needs_input_grad[1]:
            dW = x.mT @ dy
        if ctx.needs_input_grad[2]:
            db = dy.sum(0)
        return dx, dW, db


class LinearNoTranspose(Linear):
    @staticmethod
    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        return dy @ W, x.mT @ dy, dy.sum(0)


class LinearTransposed(Linear):
    @staticmethod
    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        return dy @ W.mT, dy.mT @ x, dy.sum(0)


class LinearWrongNeeds(Linear):
    @staticmethod
    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        dx = dW = None
        if ctx.needs_input_grad[0]:
            dx = dy @ W.mT
            dW = x.mT @ dy
        return dx, dW, dy.sum(0)


class LinearSwapped(Linear):
    @staticmethod
    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        return x.mT @ dy, dy @ W.mT, dy.sum(0)


class LinearKeepdim(Linear):
    @staticmethod
    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        return dy @ W.mT, x.mT @ dy, dy.sum(0, keepdim=True)


class AddBroadcast(Function):
    @staticmethod
    def forward(ctx, x, b):
        return x + b

    @staticmethod
    def backward(ctx, dy):
        return dy, dy.sum(0)


class AddUnreduced(AddBroadcast):
    @staticmethod
    def backward(ctx, dy):
        return dy, dy


class Scale(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        return dy * w, (dy * x).sum(0, keepdim=True)


class ScaleUnreduced(Scale):
    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        return dy * w, dy * x


class Center(Function):
    @staticmethod
    def forward(ctx, x):
        return x - x.mean(0)

    @staticmethod
    def backward(ctx, dy):
        return dy - dy.mean(0)


class CenterForgetsN(Center):
    @staticmethod
    def backward(ctx, dy):
        return dy - dy.sum(0)


class Mean(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square().mean(0)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy / x.shape[0]


class MeanForgetsN(Mean):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy


class Variance(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.var(0)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * (x - x.mean(0)) * dy / (x.shape[0] - 1)


class VarianceBiased(Variance):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * (x - x.mean(0)) * dy / x.shape[0]


class MatmulSymmetric(Function):
    @staticmethod
    def forward(ctx, A, B):
        ctx.save_for_backward(A, B)
        return A @ B

    @staticmethod
    def backward(ctx, dy):
        A, B = ctx.saved_tensors
        return dy @ B, A.mT @ dy


class Relu(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * (x > 0)


class ReluOfOutput(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.relu()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * (y > 0)


class ReluDead(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x - 10).relu() + x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * 2 * x


class DoubleInPlace(Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, dy):
        return dy.mul_(2)


class SavedMutated(Exp):
    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        y.mul_(dy)
        return y.clone()


class SavedMutatedByData(Exp):
    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        y.data *= dy
        return y.data.clone()


class Triple(Function):
    @staticmethod
    def forward(ctx, x):
        return 3 * x

    @staticmethod
    def backward(ctx, dy):
        return 3 * dy


class TripleInHalf(Triple):
    @staticmethod
    def backward(ctx, dy):
        return (3 * dy.half()).to(dy.dtype)


class TripleInFloat(Triple):
    @staticmethod
    def backward(ctx, dy):
        return 3 * dy.float()


class Softmax(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.softmax(-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return y * (dy - (dy * y).sum(-1, keepdim=True))


class SoftmaxZero(Softmax):
    @staticmethod
    def backward(ctx, dy):
        return torch.zeros_like(dy)


class SoftmaxDiagonal(Softmax):
    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * y * (1 - y)


class TanhForgetsUpstream(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return 1 - y * y


class SinCos(Function):
    @staticmethod
    def forward(ctx, x):
        s, c = x.sin(), x.cos()
        ctx.save_for_backward(s, c)
        return s, c

    @staticmethod
    def backward(ctx, ds, dc):
        s, c = ctx.saved_tensors
        return ds * c - dc * s


class SinCosSign(SinCos):
    @staticmethod
    def backward(ctx, ds, dc):
        s, c = ctx.saved_tensors
        return ds * c + dc * s


class SinCosNone(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        s, c = x.sin(), x.cos()
        ctx.save_for_backward(s, c)
        return s, c

    @staticmethod
    def backward(ctx, ds, dc):
        s, c = ctx.saved_tensors
        dx = torch.zeros_like(s)
        if ds is not None:
            dx = dx + ds * c
        if dc is not None:
            dx = dx - dc * s
        return dx


class SinCosNoneForgotten(SinCosNone):
    @staticmethod
    def backward(ctx, ds, dc):
        s, c = ctx.saved_tensors
        return ds * c - dc * s


class LogSigmoid(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return F.logsigmoid(x)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * torch.sigmoid(-x)


class LogSigmoidUnstable(LogSigmoid):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        y = 1 / (1 + (-x).exp())
        return dy / y * (y * (1 - y))


class Tiny(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 1e-9 * x**2

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2e-9 * x * dy


class TinySign(Tiny):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return -2e-9 * x * dy


class MeanAllZero(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.mean()

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return torch.zeros_like(x)


class Sort(Function):
    @staticmethod
    def forward(ctx, x):
        y, order = x.sort()
        ctx.save_for_backward(order)
        return y

    @staticmethod
    def backward(ctx, dy):
        (order,) = ctx.saved_tensors
        return torch.zeros_like(dy).scatter_(-1, order, dy)


class SortForgetsOrder(Sort):
    @staticmethod
    def backward(ctx, dy):
        return dy.clone()


class SortOnePair(Sort):
    @staticmethod
    def backward(ctx, dy):
        (order,) = ctx.saved_tensors
        dx = torch.zeros_like(dy).scatter(-1, order, dy)
        if dx.shape[-1] > 1:
            dx[..., [0, 1]] = dx[..., [1, 0]]
        return dx


class Round(Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, dy):
        return dy


class Dropout(Function):
    @staticmethod
    def forward(ctx, x, p):
        mask = (torch.rand(x.shape) >= p).to(x.dtype) / (1 - p)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, dy):
        (mask,) = ctx.saved_tensors
        return dy * mask, None


class DropoutForgetsScale(Dropout):
    @staticmethod
    def backward(ctx, dy):
        (mask,) = ctx.saved_tensors
        return dy * (mask > 0), None


class DropoutDrawsAgain(Dropout):
    @staticmethod
    def backward(ctx, dy):
        return dy * (torch.rand(dy.shape) >= 0.5) / 0.5, None


class DropoutOwnGenerator(Dropout):
    @staticmethod
    def forward(ctx, x, p):
        mask = (torch.rand(x.shape, generator=generator) >= p).to(x.dtype) / (1 - p)
        ctx.save_for_backward(mask)
        return x * mask


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy


class SquareNaN(Square):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy + (x - x) / (x - x)


class SquareHalf(Square):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return x * dy


class SquareAlmost(Square):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * (1 + 1e-6) * x * dy


class SquareFloor(Square):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * torch.where(dy.abs() < 1e-4, 0.0, dy)


class SquareViews(Square):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return (2 * x.reshape(-1) * dy.view(-1)).reshape(x.shape)


class SquareTwice(Square):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy * dy


class SquareNone(Square):
    @staticmethod
    def backward(ctx, dy):
        return None


class SquareNumber(Square):
    @staticmethod
    def backward(ctx, dy):
        return 2.0


class SquareRaises(Square):
    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.missing


class RowMax(Function):
    @staticmethod
    def forward(ctx, x):
        y, where = x.max(-1, keepdim=True)
        ctx.save_for_backward(where)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx, dy):
        (where,) = ctx.saved_tensors
        return torch.zeros(ctx.shape, dtype=dy.dtype).scatter_add(-1, where, dy)


class RowMaxMask(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.amax(-1, keepdim=True)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved_tensors
        return dy * (x == y)


class RowMaxShared(RowMaxMask):
    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved_tensors
        mask = (x == y).to(dy.dtype)
        return dy * mask / mask.sum(-1, keepdim=True)


class RowMaxOther(RowMaxMask):
    """The first of several: torch's `amax`, used in the forward, shares."""

    @staticmethod
    def backward(ctx, dy):
        x, _ = ctx.saved_tensors
        return torch.zeros_like(x).scatter(-1, x.argmax(-1, keepdim=True), dy)


class Sqrt(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.sqrt()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy / (2 * y)


class Reciprocal(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 1 / x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return -dy / (x * x)


class Log(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.log()

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy / x


class NumpyTanh(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.from_numpy(np.tanh(x.detach().numpy()))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return torch.from_numpy(dy.numpy() * (1 - y.numpy() ** 2))


class NumpyTanhWrong(NumpyTanh):
    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * (1 - y)


class NumpyAbs(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.abs(x.detach().numpy()))

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * x.sign()


class PartlyDetached(Function):
    """Autograd through the forward is half of the derivative; the backward is the whole."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.data

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy


class HalfDetached(PartlyDetached):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return x * dy


class LayerNorm(Function):
    @staticmethod
    def forward(ctx, x, w, b, eps):
        mean = x.mean(-1, keepdim=True)
        rstd = (x.var(-1, keepdim=True, correction=0) + eps).rsqrt()
        xhat = (x - mean) * rstd
        ctx.save_for_backward(xhat, rstd, w)
        return xhat * w + b

    @staticmethod
    def backward(ctx, dy):
        xhat, rstd, w = ctx.saved_tensors
        db = dy.flatten(0, -2).sum(0)
        dw = (dy * xhat).flatten(0, -2).sum(0)
        dxhat = dy * w
        dx = rstd * (
            dxhat - dxhat.mean(-1, keepdim=True) - xhat * (dxhat * xhat).mean(-1, keepdim=True)
        )
        return dx, dw, db, None


class LayerNormForgetsMean(LayerNorm):
    @staticmethod
    def backward(ctx, dy):
        xhat, rstd, w = ctx.saved_tensors
        _, dw, db, _ = LayerNorm.backward(ctx, dy)
        dxhat = dy * w
        dx = rstd * (dxhat - xhat * (dxhat * xhat).mean(-1, keepdim=True))
        return dx, dw, db, None


class CrossEntropy(Function):
    @staticmethod
    def forward(ctx, logits, target):
        logp = logits.log_softmax(-1)
        ctx.save_for_backward(logp, target)
        return -logp[range(len(target)), target].mean()

    @staticmethod
    def backward(ctx, dloss):
        logp, target = ctx.saved_tensors
        dlogits = logp.exp()
        dlogits[range(len(target)), target] -= 1
        return dlogits / len(target) * dloss, None


class CrossEntropyForgetsUpstream(CrossEntropy):
    @staticmethod
    def backward(ctx, dloss):
        logp, target = ctx.saved_tensors
        dlogits = logp.exp() - F.one_hot(target, logp.shape[-1])
        return dlogits / len(target), None


class Embedding(Function):
    @staticmethod
    def forward(ctx, C, ix):
        ctx.save_for_backward(ix)
        ctx.rows = C.shape[0]
        return C[ix]

    @staticmethod
    def backward(ctx, dy):
        (ix,) = ctx.saved_tensors
        dC = torch.zeros(ctx.rows, dy.shape[-1], dtype=dy.dtype)
        return dC.index_add(0, ix.flatten(), dy.flatten(0, -2)), None


class EmbeddingOverwrites(Embedding):
    @staticmethod
    def backward(ctx, dy):
        (ix,) = ctx.saved_tensors
        dC = torch.zeros(ctx.rows, dy.shape[-1], dtype=dy.dtype)
        dC[ix] = dy
        return dC, None


class TooFew(Linear):
    @staticmethod
    def backward(ctx, dy):
        return Linear.backward(ctx, dy)[:2]


class TrailingNones(Square):
    @staticmethod
    def backward(ctx, dy):
        return Square.backward(ctx, dy), None, None


class Stray(Dropout):
    @staticmethod
    def backward(ctx, dy):
        (mask,) = ctx.saved_tensors
        return dy * mask, dy.sum()


class ReluInPlace(Function):
    @staticmethod
    def forward(ctx, x):
        x.clamp_(min=0)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * (y > 0)


class ReluNotMarked(ReluInPlace):
    @staticmethod
    def forward(ctx, x):
        x.clamp_(min=0)
        ctx.save_for_backward(x)
        return x.clone()


class MaxWithIndices(Function):
    @staticmethod
    def forward(ctx, x):
        values, indices = x.max(-1)
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(indices)
        ctx.size = x.shape[-1]
        return values, indices

    @staticmethod
    def backward(ctx, dvalues, dindices):
        (indices,) = ctx.saved_tensors
        return F.one_hot(indices, ctx.size) * dvalues.unsqueeze(-1)


class Silu(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return dy * (s + x * s * (1 - s))


class SigmoidSpelledOut(Function):
    @staticmethod
    def forward(ctx, x):
        y = 1 / (1 + (-x).exp())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * y * (1 - y)


class Attention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        p = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        ctx.save_for_backward(q, k, v, p)
        return p @ v

    @staticmethod
    def backward(ctx, dy):
        q, k, v, p = ctx.saved_tensors
        dv = p.mT @ dy
        dp = dy @ v.mT
        ds = p * (dp - (dp * p).sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
        return ds @ k, ds.mT @ q, dv


class AttentionForgetsScale(Attention):
    @staticmethod
    def backward(ctx, dy):
        q, k, v, p = ctx.saved_tensors
        dp = dy @ v.mT
        ds = p * (dp - (dp * p).sum(-1, keepdim=True))
        return ds @ k, ds.mT @ q, p.mT @ dy


class FloatInside(Function):
    """Computes in float32 whatever it is given, as many a kernel does."""

    @staticmethod
    def forward(ctx, x):
        y = x.float().tanh()
        ctx.save_for_backward(y)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return (dy.float() * (1 - y * y)).to(dy.dtype)


class ConstantZero(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.softmax(-1).sum(-1)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return torch.zeros_like(x)


class PowerSum(Function):
    """Several tensors through `*xs`, and a number between them."""

    @staticmethod
    def forward(ctx, power, *xs):
        ctx.power = power
        ctx.save_for_backward(*xs)
        return sum(x**power for x in xs)

    @staticmethod
    def backward(ctx, dy):
        return None, *(dy * ctx.power * x ** (ctx.power - 1) for x in ctx.saved_tensors)


class Where(Function):
    @staticmethod
    def forward(ctx, x, y, mask):
        ctx.save_for_backward(mask)
        return torch.where(mask, x, y)

    @staticmethod
    def backward(ctx, dy):
        (mask,) = ctx.saved_tensors
        return dy * mask, dy * ~mask, None


class CumulativeSum(Function):
    @staticmethod
    def forward(ctx, x, dim):
        ctx.dim = dim
        return x.cumsum(dim)

    @staticmethod
    def backward(ctx, dy):
        return dy.flip(ctx.dim).cumsum(ctx.dim).flip(ctx.dim), None


class Identity(Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, dy):
        return dy


class Norm(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.square().sum(-1, keepdim=True).add(1e-12).sqrt()
        ctx.save_for_backward(x, y)
        return x / y

    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved_tensors
        return dy / y - x * (dy * x).sum(-1, keepdim=True) / y**3
