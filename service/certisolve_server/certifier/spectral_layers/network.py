"""What spectral layers come to: fields, and what each takes of the ones before it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Slopes
from certisolve_server.certifier.errors import NotCertified

from .basis import Waves
from .form import ANY, Atom, Dense, Entries, Form, Grid, Wave


@dataclass(frozen=True, eq=False)
class Bend:
    """How the slopes of a source vary from entry to entry: with the values of a node.

    Args:
        node: of the graph; None where they do not depend on any.
        of: number of the source that has the differences of the node for its sum.
        slopes: encloses them, of the shape of the source's tensor, from values of the node.
        curvature: encloses how they change with these values.
        result: node whose value this makes, alone or with others.
    """

    node: str
    of: int
    slopes: Callable[[Interval], Interval]
    curvature: Callable[[Interval], Interval]
    result: str


@dataclass(frozen=True, eq=False)
class Source:
    """A field h = f(sum_j A_j h_j), of differences.

    Args:
        name: of the node of the graph.
        channels: of the field.
        grid: points per axis.
        atoms: of the axes of its tensor.
        terms: A_j by the number of an earlier source; none of an input.
        slopes: of f, (channels,); None where f is the identity, and of an input.
        bend: how they vary on the grid; an interval of the shape of its tensor where they depend on
            no values; None where f is the identity, and of an input.
    """

    name: str
    channels: int
    grid: tuple[int, ...]
    atoms: tuple[Atom, ...]
    terms: Mapping[int, Entries]
    slopes: Slopes | None
    bend: Bend | Interval | None = None


@dataclass(frozen=True, eq=False)
class SpectralNetwork:
    """A map of fields, in terms of differences: sources in order, the last of them its output.

    Args:
        sources: the inputs of the graph first, in its order.
        inputs: how many of them are inputs.
        periods: of each axis of each size of grid the points of a period, of which the grid may be
            a part.
    """

    sources: tuple[Source, ...]
    inputs: int
    periods: Mapping[tuple[int, int], int]

    def points(self, source: Source) -> int:
        """Of a period of the grid of a source."""
        points = 1
        for axis, size in enumerate(source.grid):
            points *= self.periods.get((axis, size), size)
        return points


@dataclass
class Sources:
    """Fields as they are found, and what is known of the grids that they are on."""

    found: list[Source] = field(default_factory=list)
    known_periods: dict[tuple[int, int], int] = field(default_factory=dict)
    _windowed: dict[tuple[int, int, tuple[float, ...]], int] = field(default_factory=dict)
    _bare: dict[int, tuple[int, Interval]] = field(default_factory=dict)

    def begin(
        self,
        name: str,
        form: Form,
        slopes: Slopes | None,
        terms: Mapping[int, Entries],
        bend: Bend | Interval | None = None,
    ) -> Form:
        """A new field of the shape of a form, as a form itself.

        Raises:
            NotCertified: the form is no field.
        """
        dims = sum(isinstance(atom, Grid) for atom in form.atoms)
        if not form.is_field or dims != self.dims(form):
            raise NotCertified(f"{name} is made of waves, not of points of a grid")
        channels = 1
        for atom in form.atoms:
            channels *= atom.size if isinstance(atom, Dense) else 1
        self.found.append(Source(name, channels, grid_of(form), form.atoms, terms, slopes, bend))
        return self._identity(len(self.found) - 1, form)

    def dims(self, form: Form) -> int:
        """Axes of the grids of all fields."""
        if form.terms:
            return next(iter(form.terms.values())).frequencies.shape[1]
        return sum(isinstance(atom, Grid) for atom in form.atoms)

    def _identity(self, number: int, form: Form) -> Form:
        sizes = [atom.size for atom in form.atoms if isinstance(atom, Dense)]
        channels = self.found[number].channels
        dims = len(self.found[number].grid)
        values = torch.eye(channels, dtype=torch.complex128).reshape(1, *sizes, channels)
        frequencies = torch.full((1, dims), ANY)
        entries = Entries(torch.zeros(1, 0, dtype=torch.int64), frequencies, values, 0.0)
        return Form(form.axes, {number: entries})

    def weighted(self, form: Form, weights: Interval) -> Form:
        """A field times a constant that varies on the grid: a neuron for each channel.

        Args:
            form: a field.
            weights: of its shape.
        """
        slopes = slopes_over_grid(form.atoms, weights)
        return self.begin("a field times a constant", form, slopes, flattened(form), weights)

    def periods(self, grid: Grid) -> tuple[int, ...]:
        """What is known of the period of a grid."""
        known = self.known_periods.get((grid.axis, grid.size))
        return () if known is None else (known,)

    def is_open(self, grid: Grid) -> bool:
        """Whether it may be a part of a period, with a window."""
        return self.known_periods.get((grid.axis, grid.size)) != grid.size

    def note(self, grid: Grid, period: int) -> None:
        """That a grid has this period."""
        if self.known_periods.setdefault((grid.axis, grid.size), period) != period:
            raise NotCertified(f"a grid of {grid.size} points is taken for one of two periods")

    def windowed(self, form: Form, grid: Grid, waves: Waves) -> Form:
        """The form times a window along a grid: of other sources, the old ones times the window.

        On a part of a period it acts on fields that are 0 on the rest, so nothing may have come
        from waves yet.
        """
        self.note(grid, waves.period)
        if waves.period == grid.size and bool((waves.window == 1).all()):
            return form
        for entries in form.terms.values():
            if bool((entries.frequencies[:, grid.axis] != ANY).any()):
                raise NotCertified("a transform on a part of a period follows another one")
        plain = bool((waves.window == 1).all())
        terms: dict[int, Entries] = {}
        for source, entries in form.terms.items():
            # A sum of fields goes on beyond the part, unlike inputs and values of functions.
            goes_on = self.found[source].slopes is None and bool(self.found[source].terms)
            if plain and not goes_on:
                terms[source] = entries
                continue
            # What is not in the entries acts on the old source.
            nothing = slice(0, 0)
            terms[source] = replace(
                entries,
                places=entries.places[nothing],
                frequencies=entries.frequencies[nothing],
                values=entries.values[nothing],
            )
            number = self._window_of(source, grid, waves.window)
            terms[number] = replace(entries, error=0.0)
        return Form(form.axes, terms)

    def _window_of(self, source: int, grid: Grid, window: Tensor) -> int:
        """A source times a window, one neuron for each channel, whatever windows it had before."""
        key = (source, grid.axis, tuple(window.tolist()))
        if key in self._windowed:
            return self._windowed[key]
        bare, before = self._bare.get(source, (source, Interval.exact(1.0)))
        of = self.found[bare]
        whole = before * Interval.exact(_along(of.atoms, grid, window))
        identity = Entries(
            torch.zeros(1, 0, dtype=torch.int64),
            torch.full((1, len(of.grid)), ANY),
            torch.eye(of.channels, dtype=torch.complex128)[None],
            0.0,
        )
        slopes = slopes_over_grid(of.atoms, whole)
        name, number = f"{of.name} in a window", len(self.found)
        terms = {bare: identity}
        self.found.append(Source(name, of.channels, of.grid, of.atoms, terms, slopes, whole))
        self._windowed[key], self._bare[number] = number, (bare, whole)
        return number


def _along(atoms: Sequence[Atom], grid: Grid, window: Tensor) -> Tensor:
    """The window in the shape of all atoms."""
    own = [isinstance(atom, Grid) and atom.axis == grid.axis for atom in atoms]
    sizes = [atom.size if is_own else 1 for atom, is_own in zip(atoms, own, strict=True)]
    return window.reshape(sizes).expand([atom.size for atom in atoms])


def slopes_over_grid(atoms: Sequence[Atom], slopes: Interval) -> Slopes:
    """Of each channel the least and the largest over the grid.

    Args:
        atoms: of a field.
        slopes: of its shape.
    """
    sizes = [atom.size for atom in atoms]
    grids = [place for place, atom in enumerate(atoms) if isinstance(atom, Grid)]
    least = slopes.lower.reshape(sizes).amin(grids).flatten()
    return Slopes(least, slopes.upper.reshape(sizes).amax(grids).flatten())


def grid_of(form: Form) -> tuple[int, ...]:
    """Points per axis, in the order of the axes of the grid."""
    sizes = {atom.axis: atom.size for atom in form.atoms if isinstance(atom, Grid)}
    return tuple(sizes[axis] for axis in sorted(sizes))


def flattened(form: Form) -> Mapping[int, Entries]:
    """The terms of a field, its channels as one axis."""
    if any(isinstance(atom, Wave) for atom in form.atoms):
        raise NotCertified("is made of waves, not of points of a grid")
    terms = {}
    for source, scaled in form.terms.items():
        entries = scaled.unscaled()
        values = entries.values
        values = values.reshape(values.shape[0], math.prod(values.shape[1:-1]), values.shape[-1])
        terms[source] = Entries(entries.places, entries.frequencies, values, entries.error)
    return terms
