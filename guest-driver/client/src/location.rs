//! PCI addresses as text.

/// Domain, bus and device out of `[domain:]bus:device[.function]`, hexadecimal, up to a NUL byte.
pub fn parse(text: &[u8]) -> Option<[u32; 3]> {
    let text = text.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text).ok()?.split('.').next()?;
    let numbers: Option<Vec<u32>> = text.split(':').map(|part| u32::from_str_radix(part, 16).ok()).collect();
    match *numbers? {
        [domain, bus, device] => Some([domain, bus, device]),
        [bus, device] => Some([0, bus, device]),
        _ => None,
    }
}

/// Where a VM's GPU of this number is, as CUDA and NVML tell it. All GPUs of a VM share one PCI device, at which the first
/// one is. Programs tell GPUs apart by domain, bus and device, so each further one has the same place in a PCI domain of
/// its own; a guest of QEMU has domain 0 only, and so no other device is there.
pub fn of_gpu([domain, bus, device]: [u32; 3], number: u32) -> [u32; 3] {
    [domain.saturating_add(number), bus, device]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_pci_addresses_parse_with_and_without_domain() {
        assert_eq!(parse(b"0000:0a:1F.0\0\0"), Some([0, 10, 31]));
        assert_eq!(parse(b"0a:1f"), Some([0, 10, 31]));
        for bad in [&b""[..], b"loopback", b"x:y", b"1:2:3:4", b"\xff"] {
            assert_eq!(parse(bad), None);
        }
    }
}
