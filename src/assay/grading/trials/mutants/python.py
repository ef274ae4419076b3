"""Mistakes in Python programs, made in their syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Final

from assay.grading.trials.mutants.mutant import Mutant, change

_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_REMOVABLE: Final = (
    ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Break, ast.Continue, ast.Raise,
    ast.Delete,
)  # fmt: skip


def mutants(file: str, source: str) -> list[Mutant]:
    """All of them, in the order of the text; none of what is no Python."""
    try:
        tree = ast.parse(source)
        unchanged = ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError):
        return []
    made: dict[str, Mutant] = {}
    for owner, place, node in _walk(tree):
        for instead in _instead_of(owner, node):
            text = _with(tree, owner, place, instead)
            if text != unchanged and text not in made:
                made[text] = Mutant(
                    file=file,
                    line=getattr(node, "lineno", 1),
                    change=change(ast.unparse(node), _shown(instead)),
                    source=text + "\n",
                )
    return sorted(made.values(), key=lambda mutant: mutant.line)


Place = tuple[str, int | None]
"""A field of a node, and the position in it if it is a list."""


def _walk(owner: ast.AST) -> Iterator[tuple[ast.AST, Place, ast.AST]]:
    if isinstance(owner, ast.If) and _is_main(owner.test):
        yield from _walk_all(owner, "body", owner.body)
        return
    for name, value in ast.iter_fields(owner):
        if name in ("annotation", "returns", "decorator_list", "ctx"):
            continue
        if isinstance(value, ast.AST):
            yield owner, (name, None), value
            yield from _walk(value)
        elif isinstance(value, list) and all(isinstance(each, ast.AST) for each in value):
            yield from _walk_all(owner, name, value)


def _walk_all(
    owner: ast.AST, name: str, nodes: Sequence[ast.AST]
) -> Iterator[tuple[ast.AST, Place, ast.AST]]:
    for at, node in enumerate(list(nodes)):
        if not _is_text_alone(node):
            yield owner, (name, at), node
            yield from _walk(node)


def _is_main(test: ast.expr) -> bool:
    """`if __name__ == "__main__"`: without it nothing happens, which teaches nothing."""
    return isinstance(test, ast.Compare) and "__name__" in ast.unparse(test)


def _is_text_alone(node: ast.AST) -> bool:
    """A docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _with(tree: ast.AST, owner: ast.AST, place: Place, instead: ast.AST) -> str:
    """The program's text with another node at one place; the tree is as before again."""
    name, at = place
    if at is None:
        before = getattr(owner, name)
        setattr(owner, name, instead)
    else:
        nodes = getattr(owner, name)
        before, nodes[at] = nodes[at], instead
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    finally:
        if at is None:
            setattr(owner, name, before)
        else:
            getattr(owner, name)[at] = before


def _shown(instead: ast.AST) -> str:
    return "" if isinstance(instead, ast.Pass) else ast.unparse(instead)


def _instead_of(owner: ast.AST, node: ast.AST) -> Iterator[ast.AST]:
    """What may stand there by mistake."""
    match node:
        case ast.BinOp() if operator := _OPERATORS.get(type(node.op)):
            yield ast.BinOp(left=node.left, op=operator(), right=node.right)
        case ast.AugAssign():
            if operator := _OPERATORS.get(type(node.op)):
                yield ast.AugAssign(target=node.target, op=operator(), value=node.value)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield ast.BoolOp(op=other, values=node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Compare():
            yield from _compared(node)
        case ast.Constant():
            yield from _other_constant(owner, node)
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield ast.Return(value=ast.Constant(value=None))
        case ast.Call(func=ast.Name(id="range"), args=[*before, last]):
            one_more = ast.BinOp(left=last, op=ast.Add(), right=ast.Constant(value=1))
            yield ast.Call(func=node.func, args=[*before, one_more], keywords=[])
    if isinstance(node, _REMOVABLE):
        yield ast.Pass()
    if isinstance(node, ast.expr) and getattr(owner, "test", None) is node:
        yield ast.UnaryOp(op=ast.Not(), operand=node)


def _is_nothing(value: ast.expr) -> bool:
    """A constant that is as false as None."""
    return isinstance(value, ast.Constant) and not value.value


def _compared(node: ast.Compare) -> Iterator[ast.AST]:
    for at, operator in enumerate(node.ops):
        if other := _COMPARISONS.get(type(operator)):
            operators = [*node.ops[:at], other(), *node.ops[at + 1 :]]
            yield ast.Compare(left=node.left, ops=operators, comparators=node.comparators)


def _other_constant(owner: ast.AST, node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(value=not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value=value + 1)
        if isinstance(value, int) and value:
            yield ast.Constant(value=value - 1)
    elif isinstance(value, str) and value and not isinstance(owner, ast.FormattedValue):
        yield ast.Constant(value=f"{value}?")
