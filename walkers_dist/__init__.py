"""Walkers on the loss surface of a neural network, tied by elastic forces, and the surface measured around them."""
