"""Templates of the language: numbers of NumPy, casts, names, loops, classes, edges of shapes."""

from __future__ import annotations

NUMBERS = {
    "numpy_scalar": [
        "$0 = $x / np.sqrt(3)",
        "$0 = $x * np.float32(0.5)",
        "$0 = $x / np.int64(2) + np.log(2 * np.pi)",
        "$0 = $x - np.float64(0.25) * $s_x",
        "$0 = $v * np.sqrt($v.shape[-1])",
        "$0 = np.float64(2.0) * $x",
        "$0 = $x.clamp(max=np.float32(0.5))",
        "$0 = $x / math.sqrt($x.numel() + 1)",
    ],
    "tensor_of_array": [
        "$0 = torch.tensor(np.arange($n_v) + 1.0)\n$1 = $v * $0",
        "$0 = torch.from_numpy(np.ones($n_v))\n$1 = $v + $0",
        "$0 = $v * torch.as_tensor(np.linspace(0, 1, $n_v))",
        "$0 = torch.tensor([0.5, 1.5], dtype=torch.float64)\n$1 = $x.sum() * $0",
        "$0 = $x * torch.tensor(2.0)",
        "$0 = torch.tensor([[1, 0], [0, 1]])\n$1 = $x.sum() * $0",
        "$0 = torch.tensor([k * 0.1 for k in range($n_v)], dtype=torch.float64)\n$1 = $v - $0",
    ],
    "memory_format": [
        "$0 = $x.clone(memory_format=torch.contiguous_format) * 2",
        "$0 = torch.zeros_like($x, memory_format=torch.preserve_format) + $x",
        "$0 = $a{2,3,2,2}.to(memory_format=torch.channels_last) * 2",
        "$0 = $m.mT.contiguous(memory_format=torch.contiguous_format).view(-1)",
    ],
    "casts": [
        "$0 = $x.float()\n$1 = ($0 * 2).double()",
        "$0 = $x.to(torch.float32).exp().to($x.dtype)",
        "$0 = $x.float() * $s_x.float()\n$1 = $0.to($x.dtype) + $x",
        "$0 = $x.type(torch.float64) * 2",
        "$0 = ($x > 0).double() * $x",
        "$0 = $x * ($x > 0)",
        "$0 = ($x > 0).float().mean() * $x",
        "$0 = $x.type_as($s_x) + 1",
        "$0 = torch.add($x, $s_x, alpha=2)",
    ],
    "integers": [
        "$0 = $v * torch.arange($n_v)",
        "$0 = $x * True + $x",
        "$0 = torch.arange(3) + 1\n$1 = $x.sum() * $0",
        "$0 = $i{n|4}\n$1 = $x.sum() * $0.sum() + ($0 % 2)",
        "$0 = ($i{n|3} == 1)\n$1 = $a{n} * $0 + $a{n} * ~$0",
        "$0 = $x ** 2 / 2 + $x // 1",
        "$0 = $x % 0.7",
        "$0 = torch.arange($n_v, dtype=torch.float64) / $n_v\n$1 = $v * $0",
        "$0 = $j_q.float().mean() * $q",
    ],
}

EDGES = {
    "empty": [
        "$0 = $v[:0]\n$1 = $0.sum() + $v",
        "$0 = torch.cat([$v, $v[:0]])\n$1 = $0 * 2",
        "$0 = $v[torch.tensor([], dtype=torch.long)]\n$1 = $0.sum() + $v.mean()",
        "$0 = torch.zeros(0, 3, dtype=torch.float64)\n$1 = $a{2,0} @ $0 + $x.sum()",
        "$0 = $a{2,0}\n$1 = $0 @ $0.T + $x.mean()",
        "$0 = $q[:, 1:1].sum(1)\n$1 = $0 + $q[:, 0]",
    ],
    "ties": [
        "$0 = torch.cat([$v, $v])\n$1 = $0.max(0).values * 2",
        "$0 = $v.relu()\n$1 = $0.amax($d_v) + $0.amin($d_v)",
        "$0 = ($v > 0) * $v\n$1, $2 = $0.min($d_v)\n$3 = $1 * 2",
        "$0 = torch.maximum($x, $x * 1) + torch.minimum($x, $x)",
        "$0 = $x.relu().sort().values if $x.ndim else $x.relu()\n$1 = $0 * 2",
        "$0 = torch.max($x, $x.clone())\n$1 = $0 * $x",
        "$0 = (($x - $x).abs() + ($x * 0).relu()).sum()\n$1 = $0 + $x",
        "$0 = $x.round().clamp(-1, 1) + $x\n$1 = $0.norm()",
        "$0 = $v.relu().topk(1).values + $v.relu().median()",
        "$0 = torch.stack([$x, $x]).max() + torch.stack([$x, $x]).amax(0)",
    ],
    "repeated": [
        "$0 = $v[[0, 0, -1]]\n$1 = $0 * 2",
        "$0 = $v[torch.tensor([0, 0])]\n$1 = $0 + $0",
        "$0 = F.embedding(torch.tensor([1, 1, 0]), $a{n,c})",
        "$0 = $q[[0, 0], [0, 0]]\n$1 = $0.sum() * $q",
        "$0 = $a{3,n}[torch.tensor([0, 1, 1]), torch.arange(1) % 2 == 0 if 0 else 0]\n$1 = $0**2",
        "$0 = $t[$i_t, :, 0:]\n$1 = $0 * 2",
        "$0 = $v.take_along_dim($v.argsort($d_v), $d_v)",
        "$0 = $q[$i_q][:, None] * $q[None]",
    ],
    "ones": [
        "$0 = $a{1,n} @ $a{n,1}\n$1 = $0 * $x",
        "$0 = ($a{1} * $a1{1}).sum()",
        "$0 = $a{n,1} * $a{1,n}\n$1 = $0.squeeze()",
        "$0 = ($a{n} * $a1{n}).sum()\n$1 = torch.dot($a{n}, $a1{n}) + $0",
        "$0 = $a{1,1}.expand(3, 4) * 2",
        "$0 = $a{n,n}\n$1 = $0 @ $0 + $0.T",
        "$0 = $a{1,c}.repeat(3, 2)\n$1 = $0.softmax(0)",
        "$0 = $a{n,n}.trace() + $a{n,n}.diag().sum()",
        "$0 = $x.sum()[None].squeeze(0).reshape(1, 1, 1)",
    ],
    "masked_softmax": [
        "$0 = ($q @ $s_q.T).masked_fill(torch.ones($q.shape[0], $q.shape[0], dtype=torch.bool).triu(1), -1e9).softmax(-1)",
        "$0 = ($q @ $s_q.T).masked_fill(torch.ones($q.shape[0], $q.shape[0]).tril() == 0, float('-inf')).softmax(-1)\n$1 = $0 @ $q",
        "$0 = ($q.masked_fill($mask_q, -1e9).softmax(-1) * $q).sum(-1)",
    ],
    "heads": [
        "$0 = $a{2,3,4}\n$1, $2, $3 = $0.shape\n$4 = $0.view($1, $2, 2, $3 // 2).transpose(1, 2)\n"
        "$5 = ($4 @ $4.mT / math.sqrt($3 // 2)).softmax(-1) @ $4\n$6 = $5.transpose(1, 2).reshape($1, $2, $3)",
        "$0 = $a{2,3,6}\n$1 = $0.reshape(2, 3, 3, 2).permute(0, 2, 1, 3)\n$2 = torch.einsum('bhid,bhjd->bhij', $1, $1)",
        "$0 = $a{3,4}\n$1 = $0.view(3, 2, -1).mean(-1)\n$2 = $1.repeat_interleave(2, 1) * $0",
    ],
}

LANGUAGE = {
    "loop": [
        "$0 = torch.zeros(2, 3, dtype=torch.float64)\nfor step in range(3):\n    $0 = torch.tanh($a{2,c} @ $a{c,3} + $0 @ $a1{3,3})\n$1 = $0 * 2",
        "$0 = []\nfor row in $m:\n    $0.append(row.sum() * len($0))\n$1 = torch.stack($0)",
        "$0 = [$x * k for k in range(1, 4)]\n$1 = $0[0] + $0[1] * $0[2]",
        "$0 = sum(($x * k).sin() for k in range(3))",
        "$0 = torch.stack([row * (k + 1) for k, row in enumerate($m)])",
        "$0 = {k: $x * k for k in (1, 2)}\n$1 = torch.stack(list($0.values())).prod(0)",
        "$0 = $x\nfor a, b in zip((1, 2), (0.5, 0.25)):\n    $0 = $0 * a + b\n$1 = $0.tanh()",
        "$0, $1 = $x, []\nwhile len($1) < 3:\n    $0 = $0.sin()\n    $1 += [$0]\n$2 = $1[0] * $1[-1]",
        "$0 = 0.0\nfor x_t in $v.unbind(0):\n    $0 = 0.5 * $0 + x_t\n$1 = $0 * 2",
        "import functools\n---\n$0 = functools.reduce(lambda a, b: a * 0.5 + b, $v)",
    ],
    "walrus": [
        "$0 = (a := $x.tanh()) * a",
        "$0 = [b := $x * 2, b + 1][1] * b",
        "if (c_ := $x.sum()) is not None:\n    $0 = c_ * $x",
    ],
    "unpacking": [
        "$0, $1 = $x * 2, $x.exp()\n$0, $1 = $1, $0\n$2 = $0 - $1",
        "$0, *$1 = [$x, $x * 2, $x * 3]\n$2 = $0 * $1[0] + $1[1]",
        "($0, $1), $2 = ($x, $x.sin()), $x.cos()\n$3 = $0 * $1 * $2",
        "$0 = $1 = $x.tanh()\n$2 = $0 * $1",
        "$0 = [*[$x, $x * 2], $x * 3]\n$1 = torch.stack([*$0]).sum(0)",
        "[$0, $1] = $x, $s_x\n$2 = $0 * $1",
    ],
    "conditional": [
        "$0 = $x * 2 if $x.ndim > 1 else $x.tanh()",
        "$0 = ($x if $x.numel() > 3 else $x + 1).sin() * (2 if True else 3)",
        "$0 = None\n$1 = $x if $0 is None else $x * $0",
        "try:\n    $0 = $x.exp()\nfinally:\n    pass\n$1 = $0 * $x",
        "match $x.ndim:\n    case 0:\n        $0 = $x\n    case _:\n        $0 = $x.sum(0)\n$1 = $0 * 2",
    ],
    "helper": [
        "def $f(a, b=2, *, scale=1.0):\n    h = a * b\n    return h.tanh() * scale\n---\n$0 = $f($x, scale=0.5) + $f($x, b=3)",
        "$f = lambda a: a * torch.sigmoid(a)\n---\n$0 = $f($x) * $f($s_x)",
        "def $f(*rows, **options):\n    return sum(rows) * options.get('k', 1)\n---\n$0 = $f($x, $s_x, k=2)",
        "def $f(x):\n    y = x.sin()\n    x = y * x\n    return x\n---\n$0 = $f($f($x))",
        "def $f(a, n):\n    return a if n == 0 else $f(a.tanh() + 0.1, n - 1)\n---\n$0 = $f($x, 3)",
        "act = {'tanh': torch.tanh, 'relu': F.relu}\n---\n$0 = act['tanh']($x) + act['relu']($x)",
        "def inner_$0(a):\n    return a * 2 + $x\n$1 = inner_$0($x)",
        "from functools import partial\n$f = partial(torch.clamp, min=-0.5, max=0.5)\n---\n$0 = $f($x)",
        "$0 = list(map(torch.tanh, [$x, $s_x]))\n$1 = $0[0] * $0[1]",
    ],
    "own_class": [
        "class $C:\n    def __init__(self, w):\n        self.w = w\n\n    def __call__(self, a):\n        self.out = a * self.w\n        return self.out\n---\n"
        "$0 = $C($x)\n$1 = $0($s_x) + $0.out",
        "class $C:\n    scale = 0.5\n\n    @property\n    def half(self):\n        return self.value * self.scale\n\n"
        "    @staticmethod\n    def twice(a):\n        return a + a\n---\n$0 = $C()\n$0.value = $x\n$1 = $0.half + $C.twice($x)",
        "class $C:\n    def __init__(self, data):\n        self.data = data\n\n    def __add__(self, other):\n"
        "        return $C(self.data + other.data)\n\n    def __mul__(self, other):\n        return $C(self.data * other.data)\n---\n"
        "$0 = ($C($x) * $C($s_x) + $C($x)).data",
    ],
    "names": [
        "dloss = $x.tanh()\n$0 = dloss * dloss",
        "x_1 = $x * 2\nx_2 = x_1 + 1\n$0 = x_1 * x_2",
        "dx = $x.sin()\n$0 = dx * $x",
        "torch_ = $x * 2\nlambda_ = torch_.sin()\n$0 = torch_ + lambda_",
        "sum = $x.sum()\nmax = $x.max()\n$0 = sum - max",
        "$0 = $x\n$0 = $0.sin()\n$0 = $0 * $0\n$0 = $0 + $x",
        "h = $x\nfor h in [h * 2, h * 3]:\n    pass\n$0 = h + 1",
        "λ = 0.5\nθ = $x * λ\n$0 = θ.sin()",
        "loss = $x.mean()\n$0 = loss * $x",
        "d = $x * 2\ndd = d * d\nddd = dd + d\n$0 = ddd * 0.5",
        "h_1 = $x.exp() * 0.1\nh = h_1 * h_1\nh_2 = h + h_1\n$0 = h_2 * h",
        "print_ = $x\nid, type_ = $x * 2, $x * 3\n$0 = id * type_ + print_",
        "_ = $x.cos()\n$0 = _ * _",
        "y = y_ = $x.sinh() * 0.1\ndy = y + y_\n$0 = dy * y",
    ],
}
