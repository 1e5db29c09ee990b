#!/bin/bash
# vgpud takes interrupts through vfio-pci where that is loaded, also after a death without a word, and gives the device
# back. Package installed, vgpud running with uio_pci_generic.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

load_modules() {
    local module
    for module in irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci; do insmod ./$module.ko* || return 1; done
}

device=$(grep -l 0x1067 /sys/bus/pci/devices/*/device)
driver_is() { [ "$(basename "$(readlink "${device%/*}/driver")")" = "$1" ]; }
by_vfio() { grep -q 'by interrupts, through vfio-pci' /run/vgpu/vgpud.log && driver_is vfio-pci; }

killed() {
    kill -KILL "$(pidof_vgpud)"
    until_true 30 vgpud_is_gone
}

check vfio/uio-without-vfio driver_is uio_pci_generic
stop_vgpud
check vfio/modules load_modules
check vfio/start start_vgpud
check vfio/interrupts by_vfio
check vfio/vectorAdd ./vectorAdd
check vfio/counter ./counter 200
check vfio/streams_events ./streams_events
check vfio/killed killed
check vfio/start-again start_vgpud
check vfio/interrupts-again by_vfio
check vfio/vectorAdd-again ./vectorAdd
check vfio/stop stop_vgpud
check vfio/given-back driver_is virtio-pci
