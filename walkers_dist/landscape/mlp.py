"""The multilayer perceptron, batched over points, with its derivatives written as matrix products.

    z_l = W_l h_{l-1} + b_l,  h_l = f(z_l)                           forward
    dW_l = dz_l h_{l-1}^T,  db_l = sum_b dz_l,  dz_{l-1} = (W_l^T dz_l) f'(z_{l-1})

and the same rules differentiated along V, `R{.}` (Pearlmutter, "Fast exact multiplication by the Hessian", 1994).
Parameters lie as in `nn.Sequential(Linear, …)`: weight [out, in], then bias [out], layer by layer. A sample is a
column, z: [K, out, B]: products of narrow layers are up to 1.5 times as fast as with samples as rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from walkers_dist.landscape.activations import ACTIVATIONS
from walkers_dist.landscape.losses import Loss
from walkers_dist.landscape.mlp_dense import MLPDense
from walkers_dist.landscape.mlp_passed import Layer, Passed
from walkers_dist.landscape.model import Bound, Model
from walkers_dist.landscape.products import Product


class MLP(Model):
    def __init__(self, sizes: Sequence[int], activation: str = "relu") -> None:
        self.sizes = tuple(sizes)
        self.size = sum(out * (into + 1) for into, out in self.shapes)
        self.output_shape = (self.sizes[-1],)
        self.output_bias = slice(self.size - self.sizes[-1], self.size)  # the last layer's bias lies last
        self.filters = [n for into, out in self.shapes for n in (*[into] * out, out)]
        self.blocks = self._blocks()
        self.width = max(self.sizes[1:])
        self.activation = ACTIVATIONS[activation]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return list(zip(self.sizes, self.sizes[1:], strict=False))

    def _blocks(self) -> dict[str, slice]:
        found, at = {}, 0
        for number, (into, out) in enumerate(self.shapes):  # in `module`, after Flatten: every other one is a Linear
            for name, length in (("weight", out * into), ("bias", out)):
                found[f"{2 * number + 1}.{name}"] = slice(at, at + length)
                at += length
        return found

    def layers(self, theta: Tensor) -> list[Layer]:
        """Views (W: [K, out, in], b: [K, out]) of rows [K, P]."""
        views, at = [], 0
        for into, out in self.shapes:
            W = theta[:, at : at + out * into].unflatten(1, (out, into))
            b = theta[:, at + out * into : at + out * (into + 1)]
            views.append((W, b))
            at += out * (into + 1)
        return views

    def bind(self, theta: Tensor, grad: Tensor | None = None) -> BoundMLP:
        return BoundMLP(self, theta, grad)

    def start(self, generator: torch.Generator, std: float | None) -> Tensor:
        if std is not None:
            return torch.randn(self.size, generator=generator, dtype=torch.float32) * std
        parts = []
        for into, out in self.shapes:  # torch.nn.Linear: uniform within 1 / sqrt(fan in), weights and biases
            u = torch.rand(out * (into + 1), generator=generator, dtype=torch.float32)
            parts.append((2 * u - 1) / math.sqrt(into))
        return torch.cat(parts)

    def module(self, theta: Tensor) -> nn.Module:
        modules: list[nn.Module] = [nn.Flatten()]
        for W, b in self.layers(theta.detach().clone()[None]):
            linear = nn.utils.skip_init(nn.Linear, W.shape[2], W.shape[1], dtype=theta.dtype, device=theta.device)
            linear.weight.data, linear.bias.data = W[0].clone(), b[0].clone()
            modules += [linear, self.activation.module()]
        return nn.Sequential(*modules[:-1])

    def hvp_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        p = Passed(self.layers(theta.detach().clone()[None]), self.activation, x)
        layers, h, first, second = p.layers, p.h, p.first, p.second
        curvature = loss.curvature(p.z.mT, targets[None])
        dz, dh = p.backward(loss.gradient(p.z.mT, targets[None]).mT)

        def product(V: Tensor) -> Tensor:
            C, HV = len(V), torch.empty_like(V)
            v, out = self.layers(V), self.layers(HV)
            Rz, Rh = p.along(v)
            Rdz = curvature(Rz[-1].mT).mT
            for l in reversed(range(len(layers))):
                torch.bmm(Rdz, h[l].mT.expand(C, -1, -1), out=out[l][0])
                torch.sum(Rdz, dim=2, out=out[l][1])
                if (previous := Rh[l]) is not None:
                    out[l][0].baddbmm_(dz[l].expand(C, -1, -1), previous.mT)
                    Rdh = torch.bmm(layers[l][0].mT.expand(C, -1, -1), Rdz)
                    Rdh = Rdh.baddbmm_(v[l][0].mT, dz[l].expand(C, -1, -1))
                    Rdz = Rdh.mul_(first[l - 1])
                    if (curved := second[l - 1]) is not None:
                        Rdz = Rdz.addcmul_(dh[l - 1] * curved, Rz[l - 1])
            return HV

        return product

    def dense_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, l2: float) -> MLPDense:
        return MLPDense(self.activation, self.layers(theta.detach().clone()[None]), x, targets, loss, l2)

    def gauss_newton_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        p = Passed(self.layers(theta.detach().clone()[None]), self.activation, x)
        curvature = loss.curvature(p.z.mT, targets[None])

        def product(V: Tensor) -> Tensor:
            Rz, _ = p.along(self.layers(V))
            dz, _ = p.backward(curvature(Rz[-1].mT).mT)
            return self._weighted(p, dz, V)

        return product

    def covariance_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        p, samples = Passed(self.layers(theta.detach().clone()[None]), self.activation, x), len(x)
        dz, _ = p.backward(loss.gradient(p.z.mT, targets[None]).mT * samples)

        def product(V: Tensor) -> Tensor:
            C, g = len(V), V.new_zeros(len(V), 1, samples)  # g_i . v = sum_l dz_l . (vW_l h_{l-1} + vb_l)
            for (vW, vb), d, h in zip(self.layers(V), dz, p.h, strict=True):
                g += (torch.baddbmm(vb[:, :, None], vW, h.expand(C, -1, -1)) * d).sum(1, keepdim=True)
            g /= samples
            return self._weighted(p, [d * g for d in dz], V)

        return product

    def _weighted(self, p: Passed, dz: Sequence[Tensor], like: Tensor) -> Tensor:
        """dz_l h_{l-1}^T and the sum of dz_l, layer by layer: [C, P]."""
        out = torch.empty_like(like)
        for (W, b), d, h in zip(self.layers(out), dz, p.h, strict=True):
            torch.bmm(d, h.mT.expand(len(out), -1, -1), out=W)
            torch.sum(d, dim=2, out=b)
        return out


class BoundMLP(Bound):
    def __init__(self, mlp: MLP, theta: Tensor, grad: Tensor | None) -> None:
        self.f = mlp.activation
        layers = mlp.layers(theta)
        self.affine = [(b[:, :, None], W) for W, b in layers]  # as `baddbmm` takes them
        self.transposed = [W.mT for W, _ in layers]
        self.grads = None if grad is None else mlp.layers(grad)

    def outputs(self, x: Tensor) -> Tensor:
        return self._forward(x.flatten(2).mT, [])

    def _forward(self, h: Tensor, kept: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Outputs [K, B, C]; `kept` receives (h_{l-1}, what the activation before layer l saved)."""
        saved = h
        for b, W in self.affine[:-1]:
            kept.append((h, saved))
            z = torch.baddbmm(b, W, h)
            h = self.f.f(z)
            saved = z if self.f.saves_input else h
        kept.append((h, saved))
        b, W = self.affine[-1]
        return torch.baddbmm(b, W, h).mT

    def gradient(self, x: Tensor, targets: Tensor, loss: Loss, *, add: bool = False) -> Tensor:
        assert self.grads is not None, "bound without a place for gradients"
        kept: list[tuple[Tensor, Tensor]] = []
        outputs = self._forward(x.flatten(2).mT, kept)
        dz = loss.gradient(outputs, targets).mT
        if add:
            dz = dz * dz.shape[2]
        for l in reversed(range(len(self.grads))):
            h, saved = kept[l]
            dW, db = self.grads[l]
            if add:
                dW.baddbmm_(dz, h.mT)
                db.add_(dz.sum(dim=2))
            else:
                torch.bmm(dz, h.mT, out=dW)
                torch.sum(dz, dim=2, out=db)
            if l:
                dz = self.f.backward(torch.bmm(self.transposed[l], dz), saved)
        return outputs
