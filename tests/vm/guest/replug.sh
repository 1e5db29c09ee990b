#!/bin/bash
# What a guest sees of a backend that dies and of a device that is replaced.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

device_is_there() { grep -q 0x1067 /sys/bus/pci/devices/*/device 2>/dev/null; }

check replug/first-backend-works ./vectorAdd
code=0
./endless || code=$?
check replug/program-ends-with-an-error test "$code" -eq 3
refuse replug/doctor-names-the-dead-backend vhost-user-vgpu vgpu doctor
check replug/vgpud-ends-with-its-device until_true 90 vgpud_is_gone
check replug/device-comes until_true 60 device_is_there
check replug/vgpud-starts-again start_vgpud
check replug/works-again ./vectorAdd
check replug/doctor-is-content vgpu doctor
