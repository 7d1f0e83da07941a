"""Any `torch.nn.Module` as a function of its flat parameters, through `torch.func.functional_call`.

Points are taken one at a time: for convolutions on a CPU, and for one point anywhere, that is faster than batching
over them. Tied parameters count once, frozen ones are left where the module has them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import accumulate
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.losses import Loss
from walkers_dist.landscape.model import Bound, Model
from walkers_dist.landscape.products import Product, hessian_product, linear_pays, sandwich_product, saved_bytes
from walkers_dist.landscape.twice import NO_GRADIENT


class ModuleModel(Model):
    """`make()` builds the module with freshly drawn parameters; `example: [1, …]` is one input.

    What the module draws and does not train, frozen parameters and buffers, is part of the surface: it comes from
    `generator`, so that every process has the same.
    Raises `UserError` naming the module where it is no function of its parameters alone (batch norm, dropout).
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        name: str,
        example: Tensor,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        self.make, self.name = make, name
        network = self._drawn(generator)
        if not isinstance(network, nn.Module):
            raise UserError(f"landscape.model.name = {name}: it returned no torch.nn.Module")
        if any(nn.parameter.is_lazy(p) for p in network.parameters()):
            raise UserError(f"landscape.model.name = {name}: a lazy module has no parameters yet; give it its sizes")
        refuse_what_is_no_function(network, name)
        self.network = network.to(example.device, dtype)
        self.shapes = {key: p.shape for key, p in self.network.named_parameters() if p.requires_grad}
        self.size = sum(prod(shape) for shape in self.shapes.values())
        rows = [(shape[0], prod(shape[1:])) if len(shape) > 1 else (1, prod(shape)) for shape in self.shapes.values()]
        self.filters = [length for count, length in rows for _ in range(count)]
        ends = list(accumulate(prod(shape) for shape in self.shapes.values()))
        self.blocks = {
            key: slice(end - prod(shape), end) for (key, shape), end in zip(self.shapes.items(), ends, strict=True)
        }
        if self.size == 0:
            raise UserError(f"landscape.model.name = {name}: the module has no parameters to train")
        output = self._output_of(example)
        self.output_shape = tuple(output.shape[1:])
        self.width, self.batched = 1 << 9, False
        self.output_bias = self._find_output_bias()

    def _output_of(self, example: Tensor) -> Tensor:
        """The output for one input. Raises `UserError` where it is none, or another one each time."""
        where = f"landscape.model.name = {self.name}"
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            try:
                output, again = self.network(example), self.network(example)
            except (RuntimeError, ValueError, TypeError) as error:
                shape = list(example.shape)
                raise UserError(f"{where}: it does not accept inputs of shape {shape}: {error}") from error
        if not isinstance(output, Tensor) or len(output) != 1:
            raise UserError(f"{where}: it must return one tensor, a row for every input")
        if not torch.allclose(output, again, rtol=1e-4, atol=1e-6, equal_nan=True):  # a GPU may add in another order
            raise UserError(f"{where}: two calls on the same input differ: it is no function of its parameters alone")
        if not output.requires_grad:
            raise UserError(f"{where}: its output has no gradient: {NO_GRADIENT}")
        return output.detach()

    def _find_output_bias(self) -> slice | None:
        """The bias of the last module that owns parameters, in the order in which they were registered.

        None where that module has no trained bias with one entry for each output.
        """
        *_, last = (m for m in self.network.modules() if any(True for _ in m.parameters(recurse=False)))
        bias = getattr(last, "bias", None)
        name = next((key for key, p in self.network.named_parameters() if p is bias), None)
        if name not in self.shapes or self.shapes[name] != self.output_shape[-1:]:
            return None
        before = [prod(shape) for shape in list(self.shapes.values())[: list(self.shapes).index(name)]]
        return slice(sum(before), sum(before) + prod(self.shapes[name]))

    def _drawn(self, generator: torch.Generator) -> nn.Module:
        """A new module, its random numbers from this stream; the user's own generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(generator.initial_seed())
            return self.make()

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """The parameters by name, as views of one row [P]."""
        parts = row.split([prod(shape) for shape in self.shapes.values()])
        return {key: part.view(shape) for (key, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def call(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.network, dict(parameters), (x,))

    def bind(self, theta: Tensor, grad: Tensor | None = None) -> BoundModule:
        return BoundModule(self, theta, grad)

    def start(self, generator: torch.Generator, std: float | None) -> Tensor:
        if std is not None:
            return torch.randn(self.size, generator=generator, dtype=torch.float32) * std
        parameters = self._drawn(generator).parameters()
        return torch.cat([p.detach().flatten().cpu() for p in parameters if p.requires_grad])

    def module(self, theta: Tensor) -> nn.Module:
        network = copy.deepcopy(self.network)
        with torch.no_grad():
            parameters = dict(network.named_parameters())
            for key, value in self.views(theta).items():
                parameters[key].copy_(value)
        return network

    def hvp_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            return hessian_product(
                lambda row: loss.value(self.call(self.views(row), x)[None], targets[None]).sum(),
                theta,
                linear=many and self._linear_pays(theta, x),
            )

    def gauss_newton_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        with sdpa_kernel(SDPBackend.MATH):
            return sandwich_product(
                lambda row: self.call(self.views(row), x),
                lambda z: loss.curvature(z[None], targets[None]),
                theta,
                linear=many and self._linear_pays(theta, x),
            )

    def covariance_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        def losses(row: Tensor) -> Tensor:  # [B]: every sample as if it were a point of its own
            return loss.value(self.call(self.views(row), x)[:, None], targets[:, None])

        with sdpa_kernel(SDPBackend.MATH):
            return sandwich_product(
                losses, lambda _: lambda dz: dz / len(x), theta, linear=many and self._linear_pays(theta, x)
            )

    def held(self, theta: Tensor, x: Tensor) -> int:
        with sdpa_kernel(SDPBackend.MATH):
            return saved_bytes(lambda row: self.call(self.views(row), x), theta)

    def _linear_pays(self, theta: Tensor, x: Tensor) -> bool:
        return linear_pays(self.network, lambda: self.held(theta, x), theta.device)


class BoundModule(Bound):
    def __init__(self, model: ModuleModel, theta: Tensor, grad: Tensor | None) -> None:
        self.model, self.grad = model, grad
        self.rows = [
            {key: view.detach().requires_grad_(grad is not None) for key, view in model.views(row).items()}
            for row in theta
        ]
        if grad is not None:
            for leaves, g in zip(self.rows, grad, strict=True):
                for leaf, view in zip(leaves.values(), model.views(g).values(), strict=True):
                    leaf.grad = view  # backward adds in place

    def outputs(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([self.model.call(row, batch) for row, batch in zip(self.rows, x, strict=True)])

    def gradient(self, x: Tensor, targets: Tensor, loss: Loss, *, add: bool = False) -> Tensor:
        assert self.grad is not None, "bound without a place for gradients"
        if not add:
            self.grad.zero_()
        outputs = []
        targets = targets.expand(len(x), *targets.shape[1:])
        for leaves, batch, target in zip(self.rows, x, targets, strict=True):
            with torch.enable_grad():
                output = self.model.call(leaves, batch)[None]
                value = loss.value(output, target[None]).sum() * (len(batch) if add else 1)
            torch.autograd.backward(value, inputs=list(leaves.values()))
            outputs.append(output.detach()[0])
        return torch.stack(outputs)


def refuse_what_is_no_function(network: nn.Module, name: str) -> None:
    """Raise `UserError` for modules whose outputs depend on more than parameters and inputs."""
    for path, module in network.named_modules():
        kind = type(module).__name__
        where = f"landscape.model.name = {name}: module {path or 'itself'} ({kind})"
        running = isinstance(module, nn.modules.batchnorm._NormBase)
        if running and (isinstance(module, nn.modules.batchnorm._BatchNorm) or module.track_running_stats):
            raise UserError(f"{where} keeps running statistics, so the loss is no function of the parameters; use a "
                            "norm without them (LayerNorm, GroupNorm)")  # fmt: skip
        rate = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "dropout", 0)
        if isinstance(rate, int | float) and rate > 0:
            raise UserError(f"{where} drops at random, so the loss is no function of the parameters; set its rate to 0")
