"""Templates of ops with several results, of layers, and of helpers that return more than a tensor."""

from __future__ import annotations

SEVERAL = {
    "std_mean": [
        "$0, $1 = torch.std_mean($a{3,n}, dim=0)\n$2 = $0 * $1",
        "$0, $1 = torch.var_mean($m, dim=$d_m, correction=0, keepdim=True)\n$2 = ($m - $1) * ($0 + 0.1).rsqrt()",
        "$0, $1 = torch.std_mean($a{4,n})\n$2 = $0 + $1",
    ],
    "broadcast_tensors": [
        "$0, $1 = torch.broadcast_tensors($x, $b_x)\n$2 = $0 * $1",
        "$0, $1 = torch.broadcast_tensors($l_v, $v)\n$2 = $0 + $1 * $v",
        "$0 = torch.broadcast_to($l_v, $v.shape)\n$1 = $0 * $v",
        "$0 = $b_x.expand_as($x) * $x",
    ],
    "meshgrid": [
        "$0, $1 = torch.meshgrid($a{n}, $a1{c}, indexing='ij')\n$2 = $0 * $1.sin()",
        "$0, $1 = torch.meshgrid($a{n}, $a1{c}, indexing='xy')\n$2 = $0 - $1**2",
    ],
    "decompositions": [
        "$0, $1 = torch.linalg.qr($a{4,3})\n$2 = $0[0].sum() * $1[0].sum()",
        "$0, $1, $2 = torch.linalg.svd($a{4,3}, full_matrices=False)\n$3 = $1.sum() + ($0 * $0).sum()",
        "$0, $1 = torch.linalg.slogdet($a{3,3} + 3 * torch.eye(3).double())\n$2 = $0 * $1",
        "$0, $1 = torch.linalg.eigh($a{3,3} + $a{3,3}.T)\n$2 = $0.exp().sum()",
        "$0 = torch.linalg.inv($a{3,3} + 4 * torch.eye(3).double())",
        "$0 = torch.linalg.cholesky($a{3,3} @ $a{3,3}.T + torch.eye(3).double())",
        "$0 = torch.linalg.solve($a{3,3} + 4 * torch.eye(3).double(), $a{3,2})",
    ],
    "extremes": [
        "$0, $1 = $v.max($d_v)\n$2 = $0 * ($1 + 1)",
        "$0 = $v.min($d_v, keepdim=True)\n$1 = $v - $0.values",
        "$0, $1 = torch.aminmax($v, dim=$d_v)\n$2 = $0 * $1",
        "$0, $1 = torch.topk($v, 1, dim=$d_v)\n$2 = $0 * 2",
        "$0 = $v.topk(1)\n$1 = $0.values + $v",
        "$0, $1 = $v.sort($d_v, descending=True)\n$2 = $0 * $v",
        "$0, $1 = torch.median($v, $d_v)\n$2 = $0.sin()",
        "$0, $1 = $v.kthvalue(1, $d_v)\n$2 = $0 + 1",
        "$0, $1 = torch.cummax($v, $d_v)\n$2 = $0 * $v",
        "$0, $1 = torch.frexp($x)\n$2 = $0 * 2",
        "$0, $1 = $v.mode($d_v)\n$2 = $0 * 2",
        "$0 = $x.max() - $x.min() + $x.median()",
    ],
    "parts": [
        "$0, $1 = $a{2,n}.unbind(0)\n$2 = $0 * $1",
        "$0, $1 = $a{5,n}.split([2, 3])\n$2 = $0.sum(0) * $1.sum(0)",
        "$0 = torch.split($a{5,n}, 2)\n$1 = $0[0] * $0[1] + $0[2].sum()",
        "$0, $1 = $a{n,4}.chunk(2, dim=-1)\n$2 = $0 * $1.sigmoid()",
        "$0, $1, $2 = torch.tensor_split($a{7,n}, 3)\n$3 = $0.sum() * $1.sum() + $2",
        "$0, *$1 = $a{3,n}\n$2 = $0 * $1[0] + $1[1].sum()",
        "$0, $1 = torch.hsplit($a{n,4}, 2)\n$2 = $0 - $1.tanh()",
        "$0 = torch.unbind($v, -1)\n$1 = torch.stack($0, 0) * 2",
        "$0, _, $1 = $a{3,n}.unbind()\n$2 = $0 @ $1",
    ],
    "gradient_of_grid": ["$0 = torch.gradient($a{5})[0]\n$1 = $0**2", "$0 = $v.diff(dim=$d_v)"],
}

LAYERS = {
    "attention": [
        "module $N = nn.MultiheadAttention(4, 2, batch_first=True).double()\n---\n"
        "$0 = $a{2,3,4}\n$1, _ = $N($0, $0, $0, need_weights=False)\n$2 = $1 + $0",
        "module $N = nn.MultiheadAttention(4, 2).double()\n---\n"
        "$0, $1 = $N($a{3,2,4}, $a1{5,2,4}, $a1{5,2,4})\n$2 = $0.sum() + ($1**2).sum()",
        "module $N = nn.MultiheadAttention(6, 3, batch_first=True, bias=False).double()\n---\n"
        "$0 = $a{2,4,6}\n$1 = torch.ones(4, 4, dtype=torch.bool).triu(1)\n"
        "$2 = $N($0, $0, $0, attn_mask=$1, need_weights=False)[0]",
    ],
    "encoder_layer": [
        "module $N = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True).double()\n---\n$0 = $N($a{2,3,4})",
        "module $N = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, norm_first=True).double()\n---\n$0 = $N($a{2,3,4})",
    ],
    "recurrent": [
        "module $N = nn.LSTM(3, 4, batch_first=True).double()\n---\n$0, ($1, $2) = $N($a{2,3,3})\n$3 = $0.sum() + $1.mean() * $2",
        "module $N = nn.GRU(3, 2).double()\n---\n$0, $1 = $N($a{4,2,3})\n$2 = $0.mean(0) + $1[0]",
        "module $N = nn.LSTMCell(3, 4).double()\n---\n$0, $1 = $N($a{2,3}, ($a{2,4}, $a1{2,4}))\n$2 = $0 * $1",
        "module $N = nn.RNN(3, 2, num_layers=2, bidirectional=True).double()\n---\n$0, _ = $N($a{4,2,3})",
        "module $N = nn.GRUCell(2, 3).double()\n---\n$0 = torch.zeros(2, 3).double()\n"
        "for k in range(3):\n    $0 = $N($a{2,2}, $0)\n$1 = $0 * 2",
    ],
    "sequential": [
        "module $N = nn.Sequential(nn.Linear($size_n, 4), nn.Tanh(), nn.Linear(4, 2)).double()\n---\n$0 = $N($a{3,n})",
        "module $N = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()).double()\n---\n"
        "$0 = $N($a{2,2,4,4})",
        "module $N = nn.ModuleList([nn.Linear($size_n, $size_n) for _ in range(3)]).double()\n---\n"
        "$0 = $a{2,n}\nfor layer in $N:\n    $0 = $0 + layer($0).relu()\n$1 = $0 * 2",
        "module $N = nn.Embedding(5, 3).double()\n---\n$0 = $N($i{n|5})",
        "module $N = nn.LayerNorm($size_n).double()\n---\n$0 = $N($a{2,3,n})",
        "module $N = nn.GroupNorm(2, 4).double()\n---\n$0 = $N($a{2,4,3})",
        "module $N = nn.ModuleDict({'a': nn.Linear($size_n, 2), 'b': nn.Linear($size_n, 2)}).double()\n---\n"
        "$0 = $N['a']($a{3,n}) * $N['b']($a{3,n}).sigmoid()",
        "module $N = nn.Bilinear(2, 3, 4).double()\n---\n$0 = $N($a{2,2}, $a{2,3})",
        "module $N = nn.ConvTranspose1d(2, 3, 3, stride=2).double()\n---\n$0 = $N($a{2,2,4})",
        "module $N = nn.utils.parametrizations.weight_norm(nn.Linear($size_n, 3)).double()\n---\n$0 = $N($a{2,n})",
        "module $N = nn.EmbeddingBag(5, 3, mode='mean').double()\n---\n$0 = $N($i{2,4|5})",
        "module $N = nn.PReLU().double()\n---\n$0 = $N($x)",
    ],
    "own_module": [
        "class $C(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.weight = nn.Parameter(torch.randn(n).double())\n        self.eps = 1e-5\n\n"
        "    def forward(self, x):\n        norm = x.pow(2).mean(-1, keepdim=True)\n"
        "        return x * torch.rsqrt(norm + self.eps) * self.weight\n\nmodule $N = $C($size_n)\n---\n$0 = $N($a{3,n})",
        "class $C(nn.Module):\n    def __init__(self, n, h):\n        super().__init__()\n"
        "        self.up, self.gate, self.down = nn.Linear(n, h), nn.Linear(n, h), nn.Linear(h, n)\n\n"
        "    def forward(self, x):\n        return self.down(F.silu(self.gate(x)) * self.up(x))\n\n"
        "module $N = $C($size_n, 3).double()\n---\n$0 = $a{2,n}\n$1 = $0 + $N($0)",
        "class $C(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.register_buffer('average', torch.zeros(()).double())\n"
        "        self.scale = nn.Parameter(torch.tensor(0.7).double())\n\n"
        "    def forward(self, x):\n        with torch.no_grad():\n"
        "            self.average.mul_(0.9).add_(0.1 * x.mean())\n        return (x - self.average) * self.scale\n\n"
        "module $N = $C()\n---\n$0 = $N($x)",
    ],
}

RETURNS = {
    "returns_none": [
        "def $f(a):\n    return a.tanh(), None\n---\n$0, _ = $f($x)\n$1 = $0 * 2",
        "def $f(a, mask=None):\n    if mask is not None:\n        a = a.masked_fill(mask, 0)\n    return a.exp(), mask\n---\n"
        "$0 = $f($x)[0] + $f($x, $mask_x)[0]",
    ],
    "returns_dict": [
        "def $f(a, b):\n    h = a * b\n    return {'h': h, 'norm': h.pow(2).sum(), 'n': 3}\n---\n"
        "$0 = $f($x, $s_x)\n$1 = $0['h'] * $0['norm'] / $0['n']",
        "def $f(cache, a):\n    cache['h'] = a.sin()\n    return cache['h'] * 2\n---\n"
        "$0 = {}\n$1 = $f($0, $x)\n$2 = $1 + $0['h']",
    ],
    "returns_dataclass": [
        "@dataclass\nclass $C:\n    logits: object\n    loss: object = None\n\n"
        "def $f(a):\n    return $C(a.softmax(-1), a.mean())\n---\n$0 = $f($v)\n$1 = $0.logits * $0.loss",
        "@dataclass(frozen=True)\nclass $C:\n    mean: torch.Tensor\n    scale: torch.Tensor\n\n"
        "    def apply(self, a):\n        return (a - self.mean) / self.scale\n---\n"
        "$0 = $C($x.mean(), $x.abs().max() + 1)\n$1 = $0.apply($x)",
    ],
    "returns_tuple": [
        "def $f(a):\n    m = a.mean(-1, keepdim=True)\n    return a - m, (m, a.amax(-1))\n---\n"
        "$0, ($1, $2) = $f($v)\n$3 = $0 * $1 + $2.sum()",
        "def $f(a):\n    yield a.sin()\n    yield a.cos()\n---\n$0, $1 = $f($x)\n$2 = $0 * $1",
        "from collections import namedtuple\n$C = namedtuple('$C', 'first second')\n\n"
        "def $f(a):\n    return $C(a * 2, a.exp())\n---\n$0 = $f($x)\n$1 = $0.first - $0.second",
    ],
}
