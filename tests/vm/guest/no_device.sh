#!/bin/bash
# A guest with the package but without the device.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

check no_device/cuInit ./no_device
refuse no_device/doctor 'device' vgpu doctor
refuse no_device/smi 'vgpud' vgpu smi
refuse no_device/vgpud 'device' timeout 30 vgpud
