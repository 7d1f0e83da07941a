"""A number as a formula of the largest curvature: numbers, + - * / ( ) and lambda_max, and nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

NAME = "lambda_max"
LONGEST = 200
ALLOWED = f"a formula of numbers, + - * / ( ) and {NAME}, like 0.5 * 2 / {NAME}"
Operation = Callable[[float, float], float]
OPERATIONS: dict[type[ast.operator], Operation] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def check(text: str) -> str:
    """The text again. Raises ValueError where it is no such formula."""
    if not any(isinstance(node, ast.Name) for node in ast.walk(_parsed(text))):
        raise ValueError(f"must be {ALLOWED}")
    return text


def value(text: str, lambda_max: float) -> float:
    """What the formula says at this curvature; nan where it has no value."""
    try:
        return _value(_parsed(text), lambda_max)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def _parsed(text: str) -> ast.expr:
    try:
        tree = ast.parse(text.strip(), mode="eval").body if len(text) <= LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or not _is_allowed(tree):
        raise ValueError(f"must be {ALLOWED}")
    return tree


def _is_allowed(node: ast.expr) -> bool:
    match node:
        case ast.BinOp(left, operation, right):
            return type(operation) in OPERATIONS and _is_allowed(left) and _is_allowed(right)
        case ast.UnaryOp(ast.USub() | ast.UAdd(), operand):
            return _is_allowed(operand)
        case ast.Constant(number):
            return type(number) in (int, float)
        case ast.Name(name):
            return name == NAME
    return False


def _value(node: ast.expr, lambda_max: float) -> float:
    match node:
        case ast.BinOp(left, operation, right):
            return OPERATIONS[type(operation)](_value(left, lambda_max), _value(right, lambda_max))
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, lambda_max)
        case ast.UnaryOp(_, operand):
            return _value(operand, lambda_max)
        case ast.Constant(int() | float() as number):
            return float(number)
    return lambda_max
