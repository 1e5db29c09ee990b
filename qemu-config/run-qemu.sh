#!/bin/sh
# An example of a complete QEMU command line: a guest with the virtual GPU.
#
#   vhost-user-vgpu --socket-path /run/vgpu/guest.sock --gpu soft --memory 2G &
#   run-qemu.sh /run/vgpu/guest.sock DISK-IMAGE [MORE QEMU OPTIONS]
#
# QEMU 10.2 or newer is needed: it has vhost-user-test-device-pci.
set -eu
[ $# -ge 2 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
socket=$1 disk=$2
shift 2

# Shared memory (memory-backend-memfd, share=on) is mandatory: the backend maps
# the guest's memory. Without it QEMU stops when the guest starts the device.
#
# The device sits behind a pcie-root-port, so that it can be taken out and put
# back while the guest runs: after a crash of the backend start it again, then
#   replug SOCKET.monitor SOCKET
#
# virtio-id=39     a number that no kernel driver claims: vgpud drives the device
# num_vqs=16       one control queue and 15 sessions (CUDA processes)
# config_size=64   what the backend's configuration space holds
# page-per-vq=on   each session has a doorbell page of its own
# queue_reset=off  a queue's reset would not reach the backend
exec qemu-system-x86_64 -accel kvm -accel tcg -cpu max -smp 4 \
    -M q35,memory-backend=mem -m 4G \
    -object memory-backend-memfd,id=mem,size=4G,share=on \
    -chardev "socket,id=vgpu,path=$socket" \
    -device pcie-root-port,id=vgpu-port,slot=1 \
    -device vhost-user-test-device-pci,id=vgpu0,bus=vgpu-port,chardev=vgpu,virtio-id=39,num_vqs=16,vq_size=256,config_size=64,page-per-vq=on,queue_reset=off \
    -qmp "unix:$socket.monitor,server=on,wait=off" \
    -drive "file=$disk,if=virtio" "$@"
