"""What is run, step by step."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

# What was never seen on a GPU comes first where there is a choice, what measures last and alone.
STEPS = ["environment", "smoke", "driver", "conformance", "programs", "vm", "python", "llama", "bench"]
# Seconds that a program of a step may take, and the part of the budget that all of a step may.
LIMITS = {"smoke": 40, "driver": 40, "conformance": 40, "programs": 40, "python": 100, "llama": 40, "bench": 90}
PARTS = {"smoke": 0.1, "driver": 0.15, "conformance": 0.2, "programs": 0.1, "python": 0.3, "llama": 0.2, "bench": 0.4}
PARALLEL = {"smoke": 1, "driver": 4, "conformance": 8, "programs": 8, "python": 8, "llama": 1, "bench": 1}
# Programs of tests/programs that end by themselves and need a GPU.
PROGRAMS = ("device_query vectorAdd matmul_tiled reduction histogram streams_events device_printf textures counter "
            "illegal_address bad_ptx exit_before_init dlopen_loop fork_test graph_loop graph_condition grid_sync "
            "cub_thrust").split()
# Conformance programs that call what this project's library is known to refuse, without arguments.
OURS_ONLY = {"table_refused"}
# Scripts about the driver itself.
DRIVER_SCRIPTS = ("nvml", "instructions")
# What runs on the machine's driver without what came after CUDA 12.0 too.
OLDER = ("programs/device_query programs/vectorAdd programs/reduction programs/graph_loop programs/grid_sync "
         "conformance/launch_forms conformance/launch_attributes conformance/graph_nodes conformance/graph_update "
         "conformance/library_kernels conformance/module_fatbin").split()
# What runs in a VM too, of the pack's programs: without KVM it takes its time.
IN_VM = ("programs/device_query programs/vectorAdd programs/matmul_tiled programs/reduction programs/streams_events "
         "programs/graph_condition conformance/launch_forms conformance/memory_copy conformance/memory_pinned_async "
         "conformance/graph_nodes conformance/stream_host_functions conformance/context_sticky_error").split()
# Scripts that take long come first, so that they do not end alone; then those that failed on a GPU before.
URGENT = {"torch_compile": -4, "transformers_graphs": -4, "transformers_generate": -3, "jax_basic": -2,
          "torch_allocators": -1}
PROCESSES = (1, 2, 4, 8)


class Check:
    """One command, run natively and remoted; `options` are those of the virtual GPU."""

    def __init__(self, step, name, command, priority=0, options=(), environment=None):
        self.step, self.name, self.command, self.priority = step, name, command, priority
        self.options, self.environment = list(options), environment or {}


def executable(folder):
    """The programs in a folder, by name."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: path for path in found if path.is_file() and os.access(path, os.X_OK)}


class Programs:
    """The checks of each step.

    `binaries` is what scripts/gpu-pack makes, `scripts` the folder with Python's, `temporary` a folder for what is
    made here. A rehearsal is of small sizes; `library` is the machine's driver then.
    """

    def __init__(self, binaries, scripts, temporary, library):
        self.binaries, self.scripts, self.temporary, self.library = binaries, scripts, temporary, library
        self.mps = None

    def of(self, step):
        return getattr(self, step)()

    def native(self, step, names):
        found = executable(self.binaries / step)
        return [Check(step, name, [str(path)]) for name, path in found.items() if names(name)]

    def smoke(self):
        found = executable(self.binaries / "programs")
        return [Check("smoke", name, [str(found[name])]) for name in ("device_query", "vectorAdd") if name in found]

    def programs(self):
        return self.native("programs", lambda name: name in PROGRAMS)

    def conformance(self):
        return self.native("conformance", lambda name: name not in OURS_ONLY)

    def script(self, step, path, priority=0, **how):
        return Check(step, path.stem, [sys.executable, "-W", "ignore", str(path)], priority, **how)

    def driver(self):
        checks = [self.script("driver", self.scripts / f"{name}.py") for name in DRIVER_SCRIPTS]
        cache = self.temporary / "compiled"
        cache.mkdir(exist_ok=True)
        cache.chmod(0o777)
        again = self.script("driver", self.scripts / "instructions.py", options=["--compute-cache", str(cache)])
        again.name, again.command = "compute_cache", [*again.command, "again"]
        checks.append(again)
        older = self.older_library()
        if older:
            checks += [Check("driver", f"older/{name.split('/')[1]}", [str(self.binaries / name)],
                             options=["--gpu", str(older)]) for name in OLDER if (self.binaries / name).exists()]
        return checks

    def older_library(self):
        """The machine's libcuda under other names for what came after CUDA 12.0: what dlsym does not find is as not
        there. The new names have the hashes of the old ones, by which a library finds its own functions."""
        names = self.binaries / "newer-functions.txt"
        path = self.library or driver_library()
        if not names.exists() or not path:
            return None
        made = self.temporary / "older" / "libcuda.so.1"
        if not made.exists():
            made.parent.mkdir()
            wanted = b"|".join(name[2:].encode() for name in names.read_text().split())
            made.write_bytes(re.sub(rb"(?<=\0)cu(?=(?:" + wanted + rb")\0)", b"dT", path.read_bytes()))
        return made

    def python(self):
        own = (*DRIVER_SCRIPTS, "checks", "driver")
        return [self.script("python", path, URGENT.get(path.stem, 0)) for path in sorted(self.scripts.glob("*.py"))
                if path.stem not in own and not path.stem.startswith("bench_")]

    def llama(self):
        """llama.cpp with the CUDA libraries that are found here."""
        program = self.binaries / "llama" / "llama_bench"
        libraries = cublas_folders()
        if not program.exists() or not libraries:
            return []
        models = self.temporary / "models"
        models.mkdir(exist_ok=True)
        size = "tiny" if self.library else "1b"
        # The path is added to what the virtual GPU puts there.
        shell = f'LD_LIBRARY_PATH={libraries[0]}:$LD_LIBRARY_PATH exec "$0" "$@"'
        return [Check("llama", "_".join([kind, *more]), ["sh", "-c", shell, str(program), str(models), kind, size, *more],
                      priority)
                for priority, (kind, *more) in enumerate((["q4_0"], ["q4_0", "no_graphs"], ["q8_0"], ["f16"]))]

    def bench(self):
        bench = str(self.binaries / "bench")
        checks = [Check("bench", "driver_api", [bench] + (["quick"] if self.library else []))]
        checks += [self.script("bench", path) for path in sorted(self.scripts.glob("bench_*.py"))]
        checks += [Check("bench", f"processes_{n}", [bench, "processes", str(n)], 1) for n in PROCESSES]
        if self.mps:
            checks += [Check("bench", f"mps_{n}", [bench, "processes", str(n)], 2, ["--mps-pipe-directory", self.mps],
                             {"CUDA_MPS_PIPE_DIRECTORY": self.mps}) for n in PROCESSES]
        return checks

    def vm(self):
        return [Check("vm", name, [str(self.binaries / name)]) for name in IN_VM if (self.binaries / name).exists()]


def linker_cache():
    """Libraries that the dynamic linker knows, by name."""
    try:
        text = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = [line.strip() for line in text.splitlines() if " => " in line and "x86-64" in line]
    return {line.split()[0]: pathlib.Path(line.split(" => ")[1]) for line in reversed(lines)}


def driver_library():
    """The machine's libcuda.so.1."""
    return linker_cache().get("libcuda.so.1")


def cublas_folders():
    """Folders with libcublas.so.13 and what it needs, if it is anywhere: of a toolkit or of Python's packages."""
    places = [pathlib.Path(folder) for folder in sys.path] + [pathlib.Path("/usr/local/cuda/lib64")]
    packages = [place / "nvidia" / part for place in places[:-1] for part in ("cu13/lib", "cublas/lib")]
    known = linker_cache().get("libcublas.so.13")
    found = [folder for folder in (*packages, places[-1], *([known.parent] if known else []))
             if (folder / "libcublas.so.13").exists()]
    return found[:1]


class Mps:
    """NVIDIA's Multi-Process Service, for the time of a `with`: `pipes` is its folder, or None with `why`."""

    def __init__(self, temporary, rehearsal):
        self.folder, self.control = temporary / "mps", shutil.which("nvidia-cuda-mps-control")
        self.pipes = None
        self.why = "a rehearsal" if rehearsal else None if self.control else "no nvidia-cuda-mps-control here"

    def __enter__(self):
        if self.why:
            return self
        self.folder.mkdir()
        # Clients of other users are to reach it.
        self.folder.chmod(0o777)
        try:
            done = subprocess.run([self.control, "-d"], env=self.environment(), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.why = str(error)
            return self
        if done.returncode:
            self.why = f"it did not start: {done.stdout.strip()[-200:]}"
        else:
            self.pipes = str(self.folder)
        return self

    def environment(self):
        return dict(os.environ, CUDA_MPS_PIPE_DIRECTORY=str(self.folder), CUDA_MPS_LOG_DIRECTORY=str(self.folder))

    def __exit__(self, *_):
        if self.pipes:
            try:
                subprocess.run([self.control], input="quit\n", env=self.environment(), capture_output=True, text=True,
                               timeout=20)
            except (OSError, subprocess.TimeoutExpired) as error:
                print(f"-- MPS does not end: {error}", flush=True)
