"""Tilings: one matrix divided among arrays of limited size."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

Matrix = Float[Array, "inputs outputs"]
Blocks = Float[Array, "down across rows cols"]


class Tiling(eqx.Module):
    """A tiling of a matrix `(inputs, outputs)` by arrays of at most `max_tile` rows and columns. It
    has as few tiles as possible, all of one size, with as few unused lines as this allows. Outputs
    of the tiles in a block row are concatenated; outputs of the tiles in a block column are partial
    sums, added digitally.

    Unused rows are at the bit-line ends farthest from the sense side. They have no cells, so that
    the electrical length of a bit line is its filled part. Unused columns are at the word-line ends
    farthest from the drivers and have the cells of a weight of 0.

    **Arguments:**

    - `inputs`, `outputs`: sizes of the matrix.
    - `max_tile`: largest tile `(rows, cols)`, or one number for both, counted in weights. A mapping
        may need more columns of cells (an `InterleavedPair` two per weight, an `OffsetColumn` one
        more per tile).

    **Attributes:** `down`, `across`: numbers of tiles along inputs and outputs; `rows`, `cols`:
    size of each tile.

    **Errors:** `ValueError` for a size below 1.
    """

    inputs: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    down: int = eqx.field(static=True)
    across: int = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    cols: int = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, max_tile: int | tuple[int, int]):
        for name, value in (("inputs", inputs), ("outputs", outputs)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        rows, cols = max_tile if isinstance(max_tile, (tuple, list)) else (max_tile, max_tile)
        if rows < 1 or cols < 1:
            raise ValueError(f"max_tile is {max_tile}; give at least 1 row and 1 column.")
        self.inputs, self.outputs = inputs, outputs
        self.down, self.across = -(-inputs // rows), -(-outputs // cols)
        self.rows, self.cols = -(-inputs // self.down), -(-outputs // self.across)

    @property
    def left(self) -> int:
        """Number of unused rows, all in the tiles of the first block row."""
        return self.down * self.rows - self.inputs

    def split(self, matrix: Matrix) -> Blocks:
        """The blocks of a matrix, with zeros in unused rows and columns."""
        cols = self.across * self.cols
        over = ((self.left, 0), (0, cols - self.outputs))
        blocks = jnp.pad(matrix, over).reshape(self.down, self.rows, self.across, self.cols)
        return jnp.moveaxis(blocks, 2, 1)

    def join(self, blocks: Blocks) -> Matrix:
        """The matrix made of blocks: the inverse of `split`."""
        whole = jnp.moveaxis(blocks, 1, 2).reshape(self.down * self.rows, self.across * self.cols)
        return whole[self.left :, : self.outputs]

    def inputs_of(self, x: Float[Array, "..."]) -> Float[Array, "down rows"]:
        """Inputs of each block row, 0 on unused rows. Raises `ValueError` for `x` of another shape
        than `(inputs,)`."""
        if x.shape != (self.inputs,):
            raise ValueError(
                f"x has shape {x.shape}; it must be ({self.inputs},). Use jax.vmap for a batch of"
                " inputs."
            )
        return jnp.pad(x, (self.left, 0)).reshape(self.down, self.rows)

    def outputs_of(self, y: Float[Array, "down across cols"]) -> Float[Array, " outputs"]:
        """Outputs of the matrix: partial sums of each block column added, then concatenated."""
        return jnp.sum(y, axis=0).ravel()[: self.outputs]

    @property
    def filled(self) -> Float[Array, "down 1 rows 1"]:
        """1 for rows with cells, 0 for unused rows."""
        return (
            (jnp.arange(self.down * self.rows) >= self.left)
            .astype(float)
            .reshape(self.down, 1, self.rows, 1)
        )
