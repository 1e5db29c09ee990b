//! The transport through sysfs.

use std::path::Path;

use crate::{Transport, TransportError};

/// A virtual GPU on the PCI bus.
pub struct Pci {}

impl Pci {
    /// Opens the device `address`, or the first that is found; `None` when there is none.
    pub fn open(_sysfs: &Path, _address: Option<&str>) -> Result<Option<Box<dyn Transport>>, TransportError> {
        Ok(None)
    }
}
