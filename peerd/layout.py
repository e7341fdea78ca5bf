"""How a model vector is cut into fragments: known to the daemon, that sends them, and to its trainer, that
says which are final."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """How a vector of `parameters` floats is cut: `fragment_values` each, the last one what is left. The last
    `exact` of them apart, `exact_values` each."""

    parameters: int
    fragment_values: int
    exact: int = 0
    exact_values: int = 1

    def __post_init__(self) -> None:
        if self.parameters < 1 or self.fragment_values < 1:
            raise ValueError("a layout needs at least one parameter and one value per fragment")
        if not 0 <= self.exact < self.parameters or self.exact_values < 1:
            raise ValueError("not all parameters of a layout can be exact")

    @property
    def fragments(self) -> int:
        return self._coded + -(-self.exact // self.exact_values)

    @property
    def _coded(self) -> int:
        """Fragments of what is not exact."""
        return -(-(self.parameters - self.exact) // self.fragment_values)

    def is_exact(self, index: int) -> bool:
        """Whether fragment `index` is of the last part: float32, whatever the encoding."""
        return index >= self._coded

    def slice(self, index: int) -> slice:
        """Where fragment `index` lies in the vector. IndexError outside 0 .. fragments - 1."""
        if not 0 <= index < self.fragments:
            raise IndexError(f"fragment {index} of {self.fragments}")
        coded = self.parameters - self.exact
        if self.is_exact(index):
            start = coded + (index - self._coded) * self.exact_values
            return slice(start, min(start + self.exact_values, self.parameters))
        start = index * self.fragment_values
        return slice(start, min(start + self.fragment_values, coded))


def spans(layout: Layout, indices: Iterable[int]) -> Iterator[slice]:
    """Where these fragments lie, neighbours taken together. IndexError as `Layout.slice`."""
    begin = end = 0
    for index in sorted(indices):
        where = layout.slice(index)
        if where.start != end:
            if end > begin:
                yield slice(begin, end)
            begin = where.start
        end = where.stop
    if end > begin:
        yield slice(begin, end)
