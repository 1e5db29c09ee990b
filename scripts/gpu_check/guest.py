"""Programs in a VM, for which the pack brings QEMU and a guest."""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import time

from .process import end_session


def unpack(path, folder):
    with tarfile.open(path) as archive:
        archive.extractall(folder, **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))


SECONDS = 90  # for all programs of the guest


class Guest:
    """The pack's VM, unpacked where it can run."""

    def __init__(self, binaries):
        self.binaries = binaries
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpu-vm-"))
        unpack(binaries / "vm.tar.xz", self.folder)
        (self.folder / "target" / "release").symlink_to(binaries)

    def initrd(self, command, programs):
        """The guest's root, our package, the programs, and the command that runs at its start."""
        package = {"opt/vgpu/" + path.name: path for path in (self.folder / "guest").iterdir()}
        for name, place in (("vgpud", "vgpud"), ("vgpu", "vgpu"), ("libcuda.so", "lib/libcuda.so.1"),
                            ("libnvidia_ml.so", "lib/libnvidia-ml.so.1")):
            package["opt/vgpu/" + place] = self.binaries / name
        kernels = (self.binaries / "conformance" / "kernels").iterdir()
        package.update({f"root/{path.relative_to(self.binaries)}": path
                        for path in [*(self.binaries / name for name in programs), *kernels]})
        files = {name: path.read_bytes() for name, path in package.items()}
        files["run-vm/argv"] = b"".join(argument.encode() + b"\0" for argument in command)
        files["run-vm/install"] = b""
        path = self.folder / "initrd"
        with open(path, "wb") as initrd:
            with open(self.folder / "target" / "vm" / "guest.cpio", "rb") as root:
                shutil.copyfileobj(root, initrd)
            write_archive(initrd, files)
        return path

    def command(self, initrd, gpu, sandbox, limit):
        return ["bash", str(self.folder / "scripts" / "vm"), "--gpu", gpu, "--sandbox", sandbox, "--memory", "2G",
                "--timeout", str(limit), "--initrd", str(initrd)]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def write_archive(out, files):
    """A cpio archive of format "newc" with these files and their folders, all executable."""
    folders = {str(parent) for name in files for parent in pathlib.PurePath(name).parents} - {"."}
    entries = [(name, 0o040755, b"") for name in sorted(folders)]
    entries += [(name, 0o100755, data) for name, data in files.items()] + [("TRAILER!!!", 0, b"")]
    for number, (name, mode, data) in enumerate(entries, 1):
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


def run_vm(runner, wanted):
    """Runs programs natively, and all of them in one guest."""
    limit = int(min(SECONDS, runner.left()))
    missing = next((tool for tool in ("bash", "timeout", "mkfifo") if not shutil.which(tool)), None)
    why = ("no vm.tar.xz in the pack" if not (runner.binaries / "vm.tar.xz").exists()
           else f"no {missing} here" if missing else "no time left" if limit < 30 else None)
    if why:
        return runner.skipped("vm", why)
    print(f"-- vm: {len(wanted)} programs in a guest, {runner.left():.0f} s left", flush=True)
    natives = [runner.run(check, remoted=False) for check in wanted]
    guest = Guest(runner.binaries)
    # Marks around each program's output; none holds up the others.
    script = "".join(f"echo '=> {check.name}'; timeout 60 /root/{check.name} 2>&1; echo \"=> $?\"; "
                     for check in wanted)
    log = runner.logs / "vm.log"
    started = time.monotonic()
    try:
        # /dev/kvm may be there and not boot a kernel.
        nothing = guest.initrd(["true"], [])
        kvm = os.access("/dev/kvm", os.W_OK) and boot(runner, guest, nothing, "kvm", 15, log) == 0
        accelerator = "kvm" if kvm else "tcg"
        print(f"-- vm: with {accelerator}", flush=True)
        initrd = guest.initrd(["bash", "-c", script], [check.name for check in wanted])
        boot(runner, guest, initrd, accelerator, limit, log)
    finally:
        guest.remove()
    seconds = round(time.monotonic() - started, 2)
    lines = log.read_text(errors="replace").splitlines()
    for check, native in zip(wanted, natives):
        runner.record(check, native, of_guest(check.name, lines, seconds))


def boot(runner, guest, initrd, accelerator, limit, log):
    """Runs a guest to its end; its exit code. What is said goes to the log."""
    command = guest.command(initrd, runner.gpu, runner.sandbox, limit)
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True, env=dict(os.environ, accel=accelerator))
        try:
            return process.wait(timeout=limit + 30)
        except subprocess.TimeoutExpired:
            end_session(process)
            return None


def of_guest(name, lines, seconds):
    """What a program said in the guest; the seconds are those of all."""
    begin = lines.index(f"=> {name}") + 1 if f"=> {name}" in lines else len(lines)
    end = next((at for at in range(begin, len(lines)) if re.fullmatch(r"=> \d+", lines[at])), None)
    if end is None:
        return {"code": None, "seconds": seconds, "lines": lines[begin:] or lines[-5:], "why": "did not end in the guest"}
    code = int(lines[end][3:])
    why = f"exit code {code}" if code else None
    return {"code": code, "seconds": seconds, "lines": lines[begin:end], "why": why}
