#!/bin/bash
# Every program of the list, in a guest with the package installed and vgpud
# running; each checks its own results.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

device_is_listed() { lspci -n | grep -q '1af4:1067'; }
named_device_is_listed() { lspci -i /usr/share/vgpu/pci.ids -d 1af4:1067 | grep -q 'Virtual CUDA GPU'; }

check programs/lspci device_is_listed
check programs/lspci-with-our-ids named_device_is_listed
check programs/smi vgpu smi
check programs/doctor vgpu doctor
check programs/interrupts grep 'completions are told by interrupts' /run/vgpu/vgpud.log
for program in "$@"; do
    check "programs/$program" "./$program"
done
