"""A module evaluated so that it is a function that can be differentiated twice, and left as it was found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.twice import differentiated


@contextmanager
def evaluated(network: nn.Module, device: torch.device) -> Iterator[None]:
    """In evaluation mode, nothing compiled, nothing fused that has no second derivative; everything restored after.

    The modes are set one by one: a module's own `train` may do more than set them.
    """
    modes = [(module, module.training) for module in network.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        if "torch._dynamo" in sys.modules:  # without it nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if any(isinstance(module, nn.RNNBase) for module in network.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def named(network: nn.Module) -> Iterator[None]:
    """Turn torch's errors about what cannot be differentiated twice into a UserError that names it."""
    try:
        with differentiated():
            yield
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            paths = [path for path, module in network.named_modules() if getattr(module, "inplace", False)]
            what = f"module {paths[0]} works" if len(paths) == 1 else f"modules {', '.join(paths) or 'of it'} work"
            raise UserError(f"the loss cannot be differentiated: {what} in place on what others need") from error
        raise
