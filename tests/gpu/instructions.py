"""The software GPU's instruction tests on the driver at hand: what a GPU makes of the same PTX and inputs.

A `fail` of the native run is a result of the software GPU that this GPU does not have. With `again`, everything is done
twice, and told the second time: what the driver has compiled may be kept.
"""

import ctypes
import pathlib
import struct
import subprocess
import sys
import time

import driver
from checks import bench

HERE = pathlib.Path(__file__).resolve().parent
# Beside this script in a pack.
FOLDERS = [HERE / "cases", HERE.parent.parent / "softgpu" / "filetests" / "cases"]
SLOT = 8


class Form:
    """Instructions, the types of their inputs and results, and both for each thread of a block."""

    def __init__(self, line, inputs, results):
        self.line, self.inputs, self.results = line, inputs, results
        self.text, self.threads = [], []

    @property
    def name(self):
        return f"line {self.line} {self.text[0][:90]}"


def parse(text):
    forms, inputs, results = [], [], []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("//:"):
            continue
        if line.startswith("// in:"):
            inputs, results = (types.split() for types in line[6:].split("out:"))
        elif line.startswith("//"):
            sides = [[int(word, 16) for word in side.split()] for side in line[2:].split("=")]
            forms[-1].threads.append(sides)
        else:
            if not forms or forms[-1].threads:
                forms.append(Form(number, inputs, results))
            forms[-1].text.append(line)
    return forms


def kernel(number, form):
    """Text of a kernel that takes each thread's inputs from slots of one buffer and puts results into another."""
    text = "\n".join(form.text)
    lines = [f".visible .entry k{number}(.param .u64 from, .param .u64 to)\n{{", ".reg .pred %p<4>;",
             ".reg .b16 %h<4>;", ".reg .b32 %t<8>;", ".reg .b64 %u<8>;", ".reg .b128 %q<4>;", ".reg .b64 %from, %to;",
             ".reg .b32 %thread, %word;"]
    spaces = [space for space in ("shared", "local") if f"{space}_bytes" in text]
    lines += [f".{space} .align 16 .b8 {space}_bytes[4096];" for space in spaces]
    for prefix, types in (("i", form.inputs), ("o", form.results)):
        lines += [f".reg .{kind} %{prefix}{n};" for n, kind in enumerate(types)]
    lines += ["ld.param.u64 %from, [from];", "ld.param.u64 %to, [to];", "mov.u32 %thread, %tid.x;",
              f"mad.wide.u32 %from, %thread, {len(form.inputs) * SLOT}, %from;",
              f"mad.wide.u32 %to, %thread, {len(form.results) * SLOT}, %to;"]
    for n, kind in enumerate(form.inputs):
        lines += ([f"ld.global.u32 %word, [%from+{n * SLOT}];", f"setp.ne.u32 %i{n}, %word, 0;"] if kind == "pred"
                  else [f"ld.global.{kind} %i{n}, [%from+{n * SLOT}];"])
    lines.append(text)
    for n, kind in enumerate(form.results):
        lines += ([f"selp.u32 %word, 1, 0, %o{n};", f"st.global.u32 [%to+{n * SLOT}], %word;"] if kind == "pred"
                  else [f"st.global.{kind} [%to+{n * SLOT}], %o{n};"])
    return "\n".join(lines + ["ret;", "}"])


def modules(forms, target):
    """The forms with the modules that hold them; a form that the driver does not take comes with the reason."""
    head = (f".version 8.7\n.target sm_{target}\n.address_size 64\n.global .align 16 .b8 global_bytes[4096];\n"
            ".const .align 16 .b8 const_bytes[4096];\n")
    try:
        return [(forms, driver.load(head + "\n".join(kernel(n, form) for n, form in enumerate(forms)) + "\n"), None)]
    except driver.Failed as error:
        if len(forms) == 1:
            return [(forms, None, error)]
        middle = len(forms) // 2
        return modules(forms[:middle], target) + modules(forms[middle:], target)


def run(form, kernel_function, source, target):
    """The first thread with other results than expected, if there is one."""
    words = [word for inputs, _ in form.threads for word in inputs]
    expected = [word for _, results in form.threads for word in results]
    if words:
        driver.call("cuMemcpyHtoD_v2", source, struct.pack(f"<{len(words)}Q", *words), driver.size(len(words) * SLOT))
    driver.call("cuMemsetD8_v2", target, 0, driver.size(len(expected) * SLOT))
    driver.launch(kernel_function, len(form.threads), source, target)
    back = ctypes.create_string_buffer(len(expected) * SLOT)
    driver.call("cuMemcpyDtoH_v2", back, target, driver.size(len(back)))
    found = struct.unpack(f"<{len(expected)}Q", back.raw)
    width = len(form.results)
    for thread, (inputs, results) in enumerate(form.threads):
        got = list(found[thread * width:(thread + 1) * width])
        if got != results:
            show = lambda values: " ".join(f"{value:x}" for value in values)
            return f"thread {thread}: {show(inputs)} gave {show(got)}, not {show(results)}"
    return None


def main():
    folder = next(folder for folder in FOLDERS if folder.is_dir())
    target = min(driver.capability(driver.start()), 90)
    source, destination = driver.allocate(1024 * 64 * SLOT), driver.allocate(1024 * 64 * SLOT)
    failed, compiling = 0, 0.0
    for path in sorted(folder.glob("*.ptx")):
        forms = parse(path.read_text())
        started = time.monotonic()
        compiled = modules(forms, target)
        compiling += time.monotonic() - started
        for held, module, error in compiled:
            for n, form in enumerate(held):
                name = f"{path.stem} {form.name}".replace(": ", ":: ")
                if error:
                    print(f"skip {name}: {error}")
                    continue
                wrong = run(form, driver.function(module, f"k{n}"), source, destination)
                failed += wrong is not None
                print(f"fail {name}: {wrong}" if wrong else f"ok {name}", flush=True)
            if module:
                driver.call("cuModuleUnload", module)
    bench("ptx_compiled_again" if sys.argv[1:] else "ptx_compiled", compiling, "s")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:]:
        subprocess.run([sys.executable, __file__], stdout=subprocess.DEVNULL, check=False)
    sys.exit(main())
