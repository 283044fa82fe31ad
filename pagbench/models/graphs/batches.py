"""How the values of a graph follow the batch: in proportion, and with images kept apart, whatever their number."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pagbench.models.graphs.graph import Graph
from pagbench.models.graphs.operators import Call, OperatorError, Reference

BATCHES = (1, 3, 1009)
"""Sizes of the batches whose shapes are computed."""
_SIZES = {"a", "b", "size", "shape", "sizes", "repeats", "dims"}
"""Arguments that may follow the batch."""
VALUELESS = ("sym_size.", "zeros_like.", "ones_like.", "full_like.", "new_", "fill.Scalar", "zero.")
"""Operations that take no values from their tensors."""
_RESHAPES = ("view.", "_unsafe_view.", "reshape.", "flatten.", "unflatten.")
_IMAGEWISE: tuple[str, ...] = (
    "conv",
    "max_pool",
    "avg_pool",
    "adaptive_",
    "_adaptive_",
    "upsample_",
    "pixel_",
    "channel_shuffle.",
)
_IMAGEWISE += ("group_norm.", "native_group_norm.", "pad.", "constant_pad_nd.", "reflection_pad", "replicate_pad")
"""Operations for which the batch is the first side of the first argument, and of no other."""
_ALONG: tuple[str, ...] = (
    "softmax.",
    "log_softmax.",
    "_softmax.",
    "_log_softmax.",
    "cumsum.",
    "roll.",
    "flip.",
    "slice_scatter.",
)
_ALONG += ("select_scatter.", "index_select.", "cat.", "concat.", "glu.")
"""Operations that tell the places along the sides `dim` or `dims` apart, or mix them."""
_WITHIN = ("tril.", "triu.", "scaled_dot_product_attention.")
"""Operations that do so along the last two sides."""


class Line(NamedTuple):
    """A whole number for each size of the batch: `slope * batch + offset`."""

    slope: int
    offset: int

    def at(self, batch: int) -> int:
        """Its value for a batch."""
        return self.slope * batch + self.offset


Size = int | tuple[int, ...]
"""Of a value: itself, where it is a whole number, or the shape of a tensor."""
Form = Line | tuple[Line, ...]
"""The same for batches of any size."""


def size_of(value: Any) -> Size:
    """The shape of a tensor, or a whole number itself."""
    return tuple(value.shape) if isinstance(value, Tensor) else value


class Batches:
    """The forms of all values, from their sizes for `BATCHES`.

    Args:
        graph: the operations.
        calls: the same, with their arguments checked.
        known: shapes of the weights.
        shape: of one image.
        sizes: for each of `BATCHES` the sizes of what each operation returns.

    Raises:
        OperatorError: a size does not follow the batch in proportion, or images meet. A note says where.
    """

    def __init__(
        self,
        graph: Graph,
        calls: Sequence[Call],
        known: Mapping[str, Sequence[int]],
        shape: Sequence[int],
        sizes: Sequence[Sequence[Sequence[Size]]],
    ) -> None:
        self._forms: dict[str, Form] = {key: tuple(Line(0, side) for side in value) for key, value in known.items()}
        self._forms[graph.input] = (Line(1, 0), *(Line(0, side) for side in shape))
        self._outer = {graph.input: 1}
        """Of each tensor with a side of the batch, how many of the side's items lie around the images: such a side has
        its places in the order (outer, image, inner)."""
        self._results: list[list[Form]] = []
        for node, call, *results in zip(graph.nodes, calls, *sizes, strict=True):
            try:
                forms = [_form(values) for values in zip(*results, strict=True)]
                self._check_numbers(call)
                outer = self._check_images(call, forms)
            except OperatorError as error:
                error.add_note(f"{node.op} that makes {node.out[0]}")
                raise
            self._forms |= zip(node.out, forms, strict=True)
            self._outer |= dict.fromkeys(node.out, outer)
            self._results.append(forms)

    def check(self, number: int, results: Iterable[Any], batch: int) -> None:
        """Compares what operation `number` returns with what the batch makes of it.

        Raises:
            OperatorError: it is of another size.
        """
        for value, form in zip(results, self._results[number], strict=True):
            expected = form.at(batch) if isinstance(form, Line) else tuple(side.at(batch) for side in form)
            if size_of(value) != expected:
                raise OperatorError(f"makes {size_of(value)} of {batch} images, expected {expected}, as of fewer")

    def _check_numbers(self, call: Call) -> None:
        for name, value in call.args.items():
            for item in value if isinstance(value, list) else [value]:
                form = self._forms[item.name] if isinstance(item, Reference) else None
                if isinstance(form, Line) and form.slope and name not in _SIZES:
                    raise OperatorError(f"{name} follows the size of the batch, which only sizes of tensors may")

    def _check_images(self, call: Call, results: Sequence[Form]) -> int:
        """The outer items of what an operation returns, once no image can meet another in it."""
        taken = {name: side for name, side in self._sides(call) if (call.op, name) != ("type_as.default", "other")}
        if not taken or call.op.startswith(VALUELESS):
            return 1
        first, side = next(iter(taken.items()))
        _check_places(call, taken)
        outers = {self._outer[one.name] for one in taken.values()}
        slopes = {one.slope for one in taken.values()}
        if len(outers) != 1 or len(slopes) != 1:
            raise OperatorError("takes values in which images are in another order")
        (outer,), (slope,) = outers, slopes
        for form in results:
            if isinstance(form, Line):
                continue
            place = _place(form)
            if place is None:
                raise OperatorError("makes of all images one value; images may not meet")
            if call.op.startswith(_RESHAPES):
                before = math.prod(one.offset for one in self._shape(side.name)[: side.place]) * outer
                around = math.prod(one.offset for one in form[:place])
                outer, rest = divmod(before, around)
                if rest or outer == 0 or form[place].slope % outer:
                    raise OperatorError("mixes images: their side may not change places with others")
            elif form[place].slope != slope:
                raise OperatorError(f"changes the number of images ({first} has {slope} for each)")
        return outer

    def _shape(self, name: str) -> tuple[Line, ...]:
        form = self._forms[name]
        assert not isinstance(form, Line)
        return form

    def _sides(self, call: Call) -> Iterable[tuple[str, "_Side"]]:
        """The sides of the batch among the arguments, each by the argument's name and its place in a list."""
        for name, value in call.args.items():
            for number, item in enumerate(value if isinstance(value, list) else [value]):
                form = self._forms[item.name] if isinstance(item, Reference) else None
                if form is None or isinstance(form, Line) or (place := _place(form)) is None:
                    continue
                key = f"{name}.{number}" if isinstance(value, list) else name
                yield key, _Side(item.name, place, len(form), form[place].slope)


class _Side(NamedTuple):
    """The side of the batch of a tensor: its place among how many, and its items for each image."""

    name: str
    place: int
    of: int
    slope: int


def _place(form: tuple[Line, ...]) -> int | None:
    return next((place for place, line in enumerate(form) if line.slope), None)


def _form(sizes: Sequence[Size]) -> Form:
    """What a value's sizes for `BATCHES` are for all.

    Raises:
        OperatorError: nothing in proportion.
    """
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(numbers) == len(sizes):
        return _line(numbers)
    shapes = [size for size in sizes if isinstance(size, tuple)]
    if len({len(shape) for shape in shapes}) != 1:
        raise OperatorError(f"makes shapes {shapes} of {BATCHES} images")
    form = tuple(_line(sides) for sides in zip(*shapes, strict=True))
    if any(line.slope and line.offset for line in form) or sum(line.slope != 0 for line in form) > 1:
        raise OperatorError(f"makes shapes {shapes} of {BATCHES} images, expected one side in proportion to them")
    return form


def _line(values: Sequence[int]) -> Line:
    slope = (values[1] - values[0]) // (BATCHES[1] - BATCHES[0])
    line = Line(slope, values[0] - slope * BATCHES[0])
    if any(line.at(batch) != value for batch, value in zip(BATCHES, values, strict=True)):
        raise OperatorError(f"makes {list(values)} of {BATCHES} images, expected sizes in proportion to them")
    return line


def _check_places(call: Call, taken: Mapping[str, _Side]) -> None:
    """Whether the batch is at no side along which an operation tells places apart."""
    met = False
    if call.op.startswith(_IMAGEWISE):
        met = list(taken) != [next(iter(call.args))] or next(iter(taken.values())).place != 0
    elif call.op.startswith(_ALONG):
        default = {"glu.default": -1, "roll.default": []}.get(call.op, 0)
        given = call.args.get("dim", call.args.get("dims", default))
        dims = given if isinstance(given, list) else [given]
        met = not dims or any(side.place in {dim % side.of for dim in dims} for side in taken.values())
    elif call.op.startswith(_WITHIN):
        met = any(side.place >= side.of - 2 for side in taken.values())
    elif call.op == "index.Tensor":
        indices = call.args["indices"]
        met = "self" in taken and any(index is not None for index in indices[taken["self"].place :][:1])
    elif call.op == "embedding.default":
        met = "weight" in taken
    elif call.op == "einsum.default":
        terms = call.args["equation"].replace(" ", "").partition("->")[0].split(",")
        met = len({_letter(terms[int(key.partition(".")[2])], side) for key, side in taken.items()}) != 1
    if met:
        raise OperatorError("acts along the side of the batch; images may not meet")


def _letter(term: str, side: _Side) -> str:
    """What stands for the batch in an operand of an equation."""
    before, dots, after = term.partition("...")
    if side.place < len(before):
        return before[side.place]
    return after[side.place - side.of] if dots and side.of - side.place <= len(after) else dots
