"""Operations of a traced program, against what they are by hand."""

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.devices import operations


def count(fn, *shapes):
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return operations.count(jax.jit(fn).trace(*given).jaxpr)


def test_a_product():
    assert count(lambda x, y: jnp.tanh(x) @ y, (3, 5), (5, 7)) == 2 * 3 * 5 * 7


def convolved(images, kernel, **options):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        images, kernel, (2, 2), "SAME", dimension_numbers=layout, **options
    )


def test_a_convolution_and_its_groups():
    forward = 2 * (2 * 4 * 4 * 6) * (3 * 3 * 4)
    assert count(convolved, (2, 8, 8, 4), (3, 3, 4, 6)) == forward
    grouped = count(
        lambda x, w: convolved(x, w, feature_group_count=2), (2, 8, 8, 4), (3, 3, 2, 6)
    )
    assert grouped == forward / 2


def test_the_derivative_by_images_counts_no_zeros_between_pixels():
    def derivative(images, kernel):
        return jax.vjp(lambda x: convolved(x, kernel), images)[1](
            jnp.ones((2, 4, 4, 6))
        )

    forward = 2 * (2 * 4 * 4 * 6) * (3 * 3 * 4)
    # The forward pass is not needed, but is traced.
    assert count(derivative, (2, 8, 8, 4), (3, 3, 4, 6)) == 2 * forward


def test_loops_count_their_turns_and_branches_the_longest():
    def fn(x):
        x = lax.scan(lambda x, _: (x @ x, None), x, None, length=3)[0]
        return lax.cond(x[0, 0] > 0, lambda: x @ x @ x, lambda: x @ x)

    assert count(fn, (4, 4)) == (3 + 2) * 2 * 4**3


def test_rows_of_a_ragged_product_meet_the_matrix_of_their_group_alone():
    rows, matrices = jnp.ones((4, 3)), jnp.ones((2, 3, 5))
    program = jax.make_jaxpr(lax.ragged_dot)(rows, matrices, jnp.array([2, 2]))
    assert operations.count(program) == 2 * 4 * 3 * 5
