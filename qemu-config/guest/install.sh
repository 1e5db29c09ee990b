#!/bin/sh
# Installs the guest side of the virtual GPU. Run as root inside the guest,
# from the unpacked package; ./uninstall.sh undoes every change.
#
# The library folder is registered with ldconfig and nothing else: no preload,
# no wrapper, no kernel module of ours. A program that does not open libcuda.so.1 or
# libnvidia-ml.so.1 never runs a line of this code.
set -eu
cd "$(dirname "$0")"

lib=/usr/lib/x86_64-linux-gnu/vgpu
share=/usr/share/vgpu
hugepages=/proc/sys/vm/nr_hugepages
wanted=64 # as in sysctl.conf

if [ "$(id -u)" -ne 0 ]; then
    echo "install.sh: must run as root (it writes to /usr and /etc)" >&2
    exit 1
fi
if [ "$(uname -m)" != x86_64 ]; then
    echo "install.sh: this package is for x86_64, this machine is $(uname -m)" >&2
    exit 1
fi

install -d "$lib" "$share" /etc/ld.so.conf.d /etc/sysctl.d /etc/modules-load.d
install -m 644 lib/libcuda.so.1 lib/libnvidia-ml.so.1 "$lib/"
ln -sf libcuda.so.1 "$lib/libcuda.so"
ln -sf libnvidia-ml.so.1 "$lib/libnvidia-ml.so"
install -m 755 vgpud /usr/sbin/vgpud
install -m 755 vgpu /usr/bin/vgpu
# For programs that start a ptxas for their kernels, if they are told of this one.
install -d "$lib/cuda/bin"
ln -sf /usr/bin/vgpu "$lib/cuda/bin/ptxas"
install -m 644 pci.ids "$share/pci.ids"
install -m 755 uninstall.sh "$share/uninstall.sh"
install -m 644 sysctl.conf /etc/sysctl.d/vgpu.conf
echo "$lib" >/etc/ld.so.conf.d/vgpu.conf
ldconfig

# Reserve the hugepages now as well, and remember what to go back to.
before=$(cat "$hugepages")
[ -e "$share/hugepages-before" ] || echo "$before" >"$share/hugepages-before"
if [ "$before" -lt "$wanted" ]; then
    echo "$wanted" >"$hugepages"
    got=$(cat "$hugepages")
    if [ "$got" -lt "$wanted" ]; then
        echo "install.sh: only $got of $wanted hugepages could be reserved now; reboot to get all" >&2
    fi
fi

# The kernel's own module passes the device's interrupts on to vgpud, which does without if there is none.
echo uio_pci_generic >/etc/modules-load.d/vgpu.conf
modprobe uio_pci_generic 2>/dev/null || true

if [ -d /run/systemd/system ]; then
    install -m 644 vgpud.service /etc/systemd/system/vgpud.service
    systemctl daemon-reload
    systemctl enable --now vgpud.service
    echo "Installed; vgpud is running. Check with: vgpu doctor"
else
    echo "Installed. There is no systemd here: start vgpud yourself, then check with: vgpu doctor"
fi
