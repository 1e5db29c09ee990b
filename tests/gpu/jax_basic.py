"""JAX: compiled functions, gradients, matrix products."""

from checks import check, close, run, same_bits, skip_all

try:
    import jax
    import jax.numpy as jnp
    import numpy
    if jax.default_backend() != "gpu":
        skip_all(f"JAX runs on {jax.default_backend()}")
except (ImportError, RuntimeError) as error:
    skip_all(error)


@check
def elementwise():
    x = numpy.linspace(0, 1, 10_000, dtype="float32")
    close(jax.jit(lambda x: jnp.sin(x) * jnp.exp(x))(x), numpy.sin(x) * numpy.exp(x))


@check
def matmul():
    a = jax.random.normal(jax.random.key(0), (256, 256))
    close(jnp.dot(a, a, precision="highest"), numpy.asarray(a) @ numpy.asarray(a))


@check
def gradient():
    f = jax.jit(jax.grad(lambda w, x: jnp.tanh(x @ w).sum()))
    w, x = jnp.ones((32, 16)) * 0.01, jnp.ones((8, 32))
    gradient = f(w, x)
    close(gradient, numpy.full((32, 16), 8 * (1 - numpy.tanh(0.32) ** 2)))
    same_bits("gradient_bits", gradient)


@check
def convolution():
    x, k = jnp.ones((2, 3, 16, 16)), jnp.ones((4, 3, 3, 3))
    y = jax.lax.conv(x, k, (1, 1), "VALID")
    close(y, numpy.full((2, 4, 14, 14), 27.0))


@check
def scan():
    total = jax.jit(lambda x: jax.lax.scan(lambda c, v: (c + v, c), 0.0, x)[0])(jnp.arange(100.0))
    assert float(total) == 4950


run()
