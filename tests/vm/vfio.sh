#!/bin/bash
# A guest with an IOMMU: completions come by vfio-pci.
. "$(dirname "$0")/lib.sh"

modules=()
for module in virt/lib/irqbypass drivers/vfio/vfio drivers/vfio/vfio_iommu_type1 drivers/vfio/pci/vfio-pci{-core,}; do
    modules+=(--program "$(echo "$cache"/kernel-root/usr/lib/modules/*/kernel/"$module".ko*)")
done
"$repo/scripts/vm" --iommu "${modules[@]}" --program "$programs/vectorAdd" --program "$programs/counter" \
    --program "$programs/streams_events" --program "$guest_tests/lib.sh" --program "$guest_tests/vfio.sh" \
    -- bash ./vfio.sh || fail vfio/guest "the guest failed with $?"
