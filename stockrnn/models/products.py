"""Matrix products of widths that XLA's kernels are fast at.

On a CPU they write 64 or 32 columns at a time, and what is left over by a kernel that is much slower: 50 columns take 1.5 times as long as
64. So a matrix may be given columns of zeros, and what they give is left aside by whoever reads the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stockrnn.models.backend import tf

_BLOCK, _FEW_ROWS, _FEW_COLUMNS = 32, 32, 16
"""Columns that kernels write at once; with so few rows, or so few columns in all, up to 16 left over cost no more than a block would."""


def width(columns: int, rows: int | None = None) -> int:
    """Of how many columns a product should be made for so many that are wanted and so many rows, or an unknown, large number of them."""
    if columns <= _FEW_COLUMNS or (rows is not None and rows <= _FEW_ROWS and columns % (2 * _BLOCK) <= _FEW_COLUMNS):
        return columns
    return -(-columns // _BLOCK) * _BLOCK


def widened(matrix: Any, columns: int) -> Any:
    """A matrix with columns of zeros at its right, up to so many."""
    return matrix if matrix.shape[-1] == columns else tf.pad(matrix, ((0, 0), (0, columns - matrix.shape[-1])))


@tf.custom_gradient
def wide_product(x: Any, kernel: Any) -> Any:
    """The product x W, shape (rows, width of W's columns): what is beyond W's columns is zero, and no gradient flows from there.

    Args:
        x: shape (rows, inputs).
        kernel: W, shape (inputs, columns).
    """

    def gradient(d: Any) -> tuple[Any, Any]:
        d, back = d[:, : kernel.shape[1]], tf.transpose(kernel)
        return tf.matmul(d, widened(back, width(back.shape[1])))[:, : kernel.shape[0]], tf.matmul(x, d, transpose_a=True)

    return tf.matmul(x, widened(kernel, width(kernel.shape[1]))), gradient


class RecurrentProduct:
    """The product h' U with its dropout, the way back, and the gradient of U."""

    def __init__(self, gates: int, kernel: Any, drop: Sequence[Any], rows: int | None) -> None:
        """Widen U, and its transpose, for so many rows of h'; `drop` holds the masks of recurrent dropout, as for `recur`."""
        self.units, self.drop = kernel.shape[0], drop
        self.blocks = tf.split(kernel, gates, axis=1) if len(drop) > 1 else [kernel]
        self.columns = self.blocks[0].shape[1]
        self.wide = [widened(block, width(self.columns, rows)) for block in self.blocks]
        self.back = [widened(tf.transpose(block), width(self.units, rows)) for block in self.blocks]

    def as_wide(self, dh: Any) -> Any:
        """A gradient of h' in the shape that `backward` gives."""
        return widened(dh, self.back[0].shape[1])

    def forward(self, h: Any) -> Any:
        """The product, shape (batch, gates · units), of h' of shape (batch, units)."""
        inputs = [h * mask for mask in self.drop] or [h]
        return tf.concat([tf.matmul(each, block)[:, : self.columns] for each, block in zip(inputs, self.wide, strict=True)], axis=-1)

    def backward(self, dgh: Any) -> Any:
        """The gradient of h', shape (batch, units or more), in its first `units` columns, from that of the product."""
        if not self.drop:
            return tf.matmul(dgh, self.back[0])
        parts = zip(self.drop, self.back, tf.split(dgh, len(self.blocks), axis=-1), strict=True)
        return self.as_wide(tf.add_n([mask * tf.matmul(part, block)[:, : self.units] for mask, block, part in parts]))

    def kernel_gradient(self, before: Any, dgh: Any) -> Any:
        """The gradient of U from all h' and all gradients of the product, of shapes (timesteps, batch, …)."""
        if not self.drop:
            return tf.matmul(joined_rows(before), joined_rows(dgh), transpose_a=True)
        parts = zip(self.drop, tf.split(dgh, len(self.blocks), axis=-1), strict=True)
        return tf.concat([tf.matmul(joined_rows(before * mask), joined_rows(part), transpose_a=True) for mask, part in parts], axis=-1)


def joined_rows(sequence: Any) -> Any:
    """All rows of a tensor, shape (rows, columns)."""
    return tf.reshape(sequence, (-1, sequence.shape[-1]))
