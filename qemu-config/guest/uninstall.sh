#!/bin/sh
# Removes the guest side of the virtual GPU; the guest is then as before
# install.sh. Run as root inside the guest.
set -eu

lib=/usr/lib/x86_64-linux-gnu/vgpu
share=/usr/share/vgpu

if [ "$(id -u)" -ne 0 ]; then
    echo "uninstall.sh: must run as root" >&2
    exit 1
fi

if [ -d /run/systemd/system ]; then
    systemctl disable --now vgpud.service || true
    rm -f /etc/systemd/system/vgpud.service
    systemctl daemon-reload
elif readlink /proc/[0-9]*/exe | grep -qx /usr/sbin/vgpud; then
    echo "uninstall.sh: vgpud is running and there is no systemd here: stop it first" >&2
    exit 1
fi

if [ -s "$share/hugepages-before" ]; then
    cat "$share/hugepages-before" >/proc/sys/vm/nr_hugepages
fi
modprobe -r uio_pci_generic 2>/dev/null || true # in use, built in, or not there
rm -f /etc/ld.so.conf.d/vgpu.conf /etc/sysctl.d/vgpu.conf /etc/modules-load.d/vgpu.conf /usr/sbin/vgpud /usr/bin/vgpu
rm -rf "$lib" "$share"
rmdir --ignore-fail-on-non-empty /etc/sysctl.d /etc/modules-load.d # a minimal system has none
ldconfig

# Only a user can have put the library there, and it is gone now: every program
# of the system would complain.
if grep -qs 'vgpu/libcuda' /etc/ld.so.preload; then
    echo "uninstall.sh: remove the libcuda line from /etc/ld.so.preload as well" >&2
fi
echo "Removed."
