"""One matrix on many arrays."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

Matrix = Float[Array, "inputs outputs"]
Blocks = Float[Array, "down across rows cols"]


class Tiling(eqx.Module):
    """A matrix of `inputs` by `outputs` on arrays of at most `max_tile` rows and columns: as few as
    it takes, all of one size and as even as that allows. What the arrays of one block row put out
    stands side by side; those of a block column are partial sums and are added digitally.

    Rows that are left over lie where the bit lines are farthest from their sense side, and have no
    cells, so that bit lines are electrically as long as they are filled. Columns that are left over
    lie where the word lines are farthest from their driver; they have the cells of a weight of 0.

    **Arguments:** `inputs`, `outputs`: of the matrix; `max_tile`: the largest tile, `(rows, cols)`
    or one number for both, of weights: a mapping may take more columns of cells for them (an
    `InterleavedPair` two per weight, an `OffsetColumn` one more in all).

    **Attributes:** `down`, `across`: how many arrays; `rows`, `cols`: of each.
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
                raise ValueError(f"{name} is {value}; a matrix has at least 1.")
        rows, cols = max_tile if isinstance(max_tile, (tuple, list)) else (max_tile, max_tile)
        if rows < 1 or cols < 1:
            raise ValueError(f"max_tile is {max_tile}; an array has at least 1 row and 1 column.")
        self.inputs, self.outputs = inputs, outputs
        self.down, self.across = -(-inputs // rows), -(-outputs // cols)
        self.rows, self.cols = -(-inputs // self.down), -(-outputs // self.across)

    @property
    def left(self) -> int:
        """Rows without cells, all in the first arrays."""
        return self.down * self.rows - self.inputs

    def split(self, matrix: Matrix) -> Blocks:
        """The blocks of a matrix, with zeros for what is left over."""
        cols = self.across * self.cols
        over = ((self.left, 0), (0, cols - self.outputs))
        blocks = jnp.pad(matrix, over).reshape(self.down, self.rows, self.across, self.cols)
        return jnp.moveaxis(blocks, 2, 1)

    def join(self, blocks: Blocks) -> Matrix:
        """The matrix of blocks."""
        whole = jnp.moveaxis(blocks, 1, 2).reshape(self.down * self.rows, self.across * self.cols)
        return whole[self.left :, : self.outputs]

    def inputs_of(self, x: Float[Array, "..."]) -> Float[Array, "down rows"]:
        """Inputs of each block row, 0 on rows that are left over."""
        if x.shape != (self.inputs,):
            raise ValueError(
                f"x has shape {x.shape}; it must be ({self.inputs},), one input. Use jax.vmap for"
                " more."
            )
        return jnp.pad(x, (self.left, 0)).reshape(self.down, self.rows)

    def outputs_of(self, y: Float[Array, "down across cols"]) -> Float[Array, " outputs"]:
        """Partial sums added, side by side."""
        return jnp.sum(y, axis=0).ravel()[: self.outputs]

    @property
    def filled(self) -> Float[Array, "down 1 rows 1"]:
        """1 where a row has cells, 0 where it is left over."""
        return (
            (jnp.arange(self.down * self.rows) >= self.left)
            .astype(float)
            .reshape(self.down, 1, self.rows, 1)
        )
