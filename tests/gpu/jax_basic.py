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
def linear_algebra():
    a = numpy.random.default_rng(1).standard_normal((48, 48)).astype("float32")
    close(jnp.linalg.svd(a, compute_uv=False), numpy.linalg.svd(a, compute_uv=False), 1e-3)
    close(jnp.linalg.eigvalsh(a + a.T), numpy.linalg.eigvalsh(a + a.T), 1e-3)
    q, r = jnp.linalg.qr(a)
    close(jnp.dot(q, r, precision="highest"), a, 1e-3)


@check
def sorting():
    x = numpy.random.default_rng(2).random(10_000, dtype="float32")
    close(jnp.sort(x), numpy.sort(x))
    close(jax.lax.top_k(x, 5)[0], numpy.sort(x)[:-6:-1])


@check
def scan():
    total = jax.jit(lambda x: jax.lax.scan(lambda c, v: (c + v, c), 0.0, x)[0])(jnp.arange(100.0))
    assert float(total) == 4950


run()
