//! A PCI function in sysfs (the kernel's Documentation/PCI/sysfs-pci.rst): finding it, taking it
//! from its driver, its configuration space and its memory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::{Mapping, SMALL_PAGE};
use crate::TransportError;

/// The device's ids: virtio, device 0x1040 + 39 (virtio 1.3, 4.1.2).
pub const VENDOR: u32 = 0x1af4;
/// See [`VENDOR`].
pub const DEVICE: u32 = 0x1040 + vgpu_protocol::control::VIRTIO_ID;

/// The driver that a stock kernel binds to the function; it does nothing with it.
const STOCK_DRIVER: &str = "virtio-pci";
/// The drivers that pass interrupts on to a process; what else they do is to stop the device when that ends.
pub const VFIO: &str = "vfio-pci";
/// See [`VFIO`].
pub const UIO: &str = "uio_pci_generic";
/// A driver name that no driver has keeps others from binding.
const NO_DRIVER: &str = "none";

/// Command register (PCI 3.0, 6.2.2) and its bits.
const COMMAND: u64 = 4;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;

/// A function's folder in sysfs.
#[derive(Clone, Debug)]
pub struct Function {
    sysfs: PathBuf,
    address: String,
}

impl Function {
    /// All functions with our ids, in order of their addresses. `sysfs` is where sysfs is mounted.
    pub fn find_all(sysfs: &Path) -> io::Result<Vec<Self>> {
        let mut functions = Vec::new();
        for entry in fs::read_dir(sysfs.join("bus/pci/devices"))? {
            let address = entry?.file_name().to_string_lossy().into_owned();
            let function = Self { sysfs: sysfs.to_path_buf(), address };
            if function.read_hex("vendor") == Some(VENDOR) && function.read_hex("device") == Some(DEVICE) {
                functions.push(function);
            }
        }
        functions.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(functions)
    }

    /// PCI address, as in "0000:00:03.0".
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Path of one of the function's files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn read_hex(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.file(name)).ok()?;
        u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
    }

    /// Name of the bound driver.
    pub fn driver(&self) -> Option<String> {
        let driver = fs::read_link(self.file("driver")).ok()?;
        Some(driver.file_name()?.to_string_lossy().into_owned())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), TransportError> {
        let path = self.file(name);
        fs::write(&path, text).map_err(TransportError::set_up(format_args!("cannot write to {}", path.display())))
    }

    /// The function's folder.
    pub fn folder(&self) -> PathBuf {
        self.sysfs.join("bus/pci/devices").join(&self.address)
    }

    /// Whether the driver of the function is one for interrupts.
    fn tells_interrupts(&self) -> bool {
        self.driver().is_some_and(|driver| driver == VFIO || driver == UIO)
    }

    /// Takes the function from the stock driver, or finds it left behind.
    pub fn take(&self) -> Result<Taken, TransportError> {
        match self.driver() {
            Some(driver) if driver != STOCK_DRIVER && !self.tells_interrupts() => Err(TransportError::SetUp(format!(
                "{} is bound to the driver {driver}; release it with: echo {} > /sys/bus/pci/drivers/{driver}/unbind",
                self.address, self.address
            ))),
            driver => {
                let was = fs::read_to_string(self.file("driver_override")).unwrap_or_default();
                // What a process that was killed has left behind is nobody's wish.
                let was = if self.tells_interrupts() { String::new() } else { was.trim().to_string() };
                let taken = Taken { function: self.clone(), was, bound: driver.is_some() };
                // Somebody may have it open through vfio-pci: taking it from that would wait for them.
                if driver.as_deref() != Some(VFIO) {
                    self.write("driver_override", NO_DRIVER)?;
                    if taken.bound {
                        self.write("driver/unbind", &self.address)?;
                    }
                }
                Ok(taken)
            }
        }
    }

    /// Lets the function reach memory, with interrupts masked.
    pub fn enable(&self) -> Result<(), TransportError> {
        self.change_command(0, COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTX_DISABLE)
    }

    /// Gives the function to a driver; whether that is there and takes it.
    pub fn bind(&self, driver: &str) -> bool {
        let bind = self.sysfs.join("bus/pci/drivers").join(driver).join("bind");
        if !bind.exists() {
            return false;
        }
        let bound = self.write("driver_override", driver).and_then(|()| {
            fs::write(&bind, &self.address)
                .map_err(TransportError::set_up(format_args!("cannot write to {}", bind.display())))
        });
        bound.inspect_err(|error| log::warn!("{error}")).is_ok()
    }

    /// Takes the function from the driver for interrupts, if it has one.
    pub fn unbind(&self) {
        if self.tells_interrupts() {
            if let Err(error) = self.write("driver/unbind", &self.address) {
                log::warn!("{error}");
            }
        }
    }

    /// Whether its accesses to memory go by an IOMMU, as far as the kernel is concerned.
    pub fn has_iommu(&self) -> bool {
        self.file("iommu_group").exists()
    }

    /// Name of the device file that tells interrupts.
    pub fn uio(&self) -> io::Result<String> {
        let entry = fs::read_dir(self.file("uio"))?.next().ok_or(io::ErrorKind::NotFound)??;
        Ok(entry.file_name().to_string_lossy().into_owned())
    }

    /// Lets an interrupt through.
    pub fn unmask_interrupts(&self) -> io::Result<()> {
        self.change_command(COMMAND_INTX_DISABLE, 0).map_err(io::Error::other)
    }

    /// Takes the way to memory from the function: on return it writes nothing any more.
    pub fn stop(&self) -> Result<(), TransportError> {
        self.change_command(COMMAND_BUS_MASTER, 0)
    }

    fn change_command(&self, clear: u16, set: u16) -> Result<(), TransportError> {
        let path = self.file("config");
        let change = || {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let mut command = [0; 2];
            file.read_exact_at(&mut command, COMMAND)?;
            file.write_all_at(&(u16::from_le_bytes(command) & !clear | set).to_le_bytes(), COMMAND)
        };
        change().map_err(|error| self.access_error("cannot write to", &path, &error))
    }

    /// Configuration space: 256 bytes for root, 64 for others.
    pub fn config(&self) -> Result<Vec<u8>, TransportError> {
        let path = self.file("config");
        let read = || {
            let mut bytes = vec![0; 256];
            let length = File::open(&path)?.read_at(&mut bytes, 0)?;
            bytes.truncate(length);
            Ok(bytes)
        };
        read().map_err(TransportError::set_up(format_args!("cannot read {}", path.display())))
    }

    /// Sizes of the six base address registers' memory, bytes.
    pub fn bar_sizes(&self) -> [usize; 6] {
        std::array::from_fn(|bar| {
            let size = fs::metadata(self.file(&format!("resource{bar}"))).map_or(0, |data| data.len());
            usize::try_from(size).unwrap_or(0)
        })
    }

    /// Maps the memory of a base address register.
    pub fn map_bar(&self, bar: u8, size: usize) -> Result<Mapping, TransportError> {
        let path = self.file(&format!("resource{bar}"));
        let map = || {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            Mapping::new(file.as_fd(), 0, size.next_multiple_of(SMALL_PAGE))
        };
        map().map_err(|error| self.access_error("cannot map", &path, &error))
    }

    fn access_error(&self, what: &str, path: &Path, error: &io::Error) -> TransportError {
        let hint = match lockdown(&self.sysfs) {
            Some(mode) if mode != "none" => {
                format!("; the kernel's lockdown is \"{mode}\": switch Secure Boot off for this VM")
            }
            _ if error.kind() == io::ErrorKind::PermissionDenied => "; vgpud must run as root".into(),
            _ => String::new(),
        };
        TransportError::SetUp(format!("{what} {}: {error}{hint}", path.display()))
    }
}

/// Mode of the kernel's lockdown ("none", "integrity", "confidentiality"), where it exists.
pub fn lockdown(sysfs: &Path) -> Option<String> {
    let text = fs::read_to_string(sysfs.join("kernel/security/lockdown")).ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_string())
}

/// A function that was taken from its driver; [`Taken::restore`] gives it back.
#[derive(Debug)]
pub struct Taken {
    function: Function,
    /// `driver_override` as it was found.
    was: String,
    bound: bool,
}

impl Taken {
    /// Leaves the function to the driver it had.
    pub fn restore(&self) {
        self.function.unbind();
        let was = if self.was == "(null)" || self.was.is_empty() { "\n" } else { &self.was };
        let mut done = self.function.write("driver_override", was);
        if done.is_ok() && self.bound {
            let probe = self.function.sysfs.join("bus/pci/drivers_probe");
            done = fs::write(&probe, &self.function.address)
                .map_err(TransportError::set_up(format_args!("cannot write to {}", probe.display())));
        }
        if let Err(error) = done {
            log::warn!("the device stays without a driver: {error}");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn tree() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path().join("bus/pci/devices");
        for (address, vendor, device) in [
            ("0000:00:01.0", "0x8086", "0x29c0"),
            ("0000:00:04.0", "0x1af4", "0x1067"),
            ("0000:00:03.0", "0x1af4", "0x1067"),
        ] {
            let folder = devices.join(address);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("vendor"), format!("{vendor}\n")).unwrap();
            fs::write(folder.join("device"), format!("{device}\n")).unwrap();
            fs::write(folder.join("config"), [0; 256]).unwrap();
            fs::write(folder.join("driver_override"), "(null)\n").unwrap();
        }
        let folder = devices.join("0000:00:03.0");
        (root, folder)
    }

    fn bind(root: &Path, folder: &Path, driver: &str) {
        let target = root.join("bus/pci/drivers").join(driver);
        fs::create_dir_all(&target).unwrap();
        std::os::unix::fs::symlink(target, folder.join("driver")).unwrap();
    }

    #[test]
    fn finds_our_ids_alone_in_order() {
        let (root, _) = tree();
        let found = Function::find_all(root.path()).unwrap();
        let addresses: Vec<_> = found.iter().map(Function::address).collect();
        assert_eq!(addresses, ["0000:00:03.0", "0000:00:04.0"]);
    }

    #[test]
    fn taking_unbinds_and_enabling_reaches_memory_without_interrupts() {
        let (root, folder) = tree();
        bind(root.path(), &folder, STOCK_DRIVER);
        let function = &Function::find_all(root.path()).unwrap()[0];
        let taken = function.take().unwrap();
        assert_eq!(fs::read_to_string(folder.join("driver_override")).unwrap(), NO_DRIVER);
        assert_eq!(fs::read_to_string(folder.join("driver/unbind")).unwrap(), "0000:00:03.0");
        function.enable().unwrap();
        let config = function.config().unwrap();
        assert_eq!(u16::from_le_bytes([config[4], config[5]]), 0x0406);

        taken.restore();
        assert_eq!(fs::read_to_string(folder.join("driver_override")).unwrap(), "\n");
        assert_eq!(fs::read_to_string(root.path().join("bus/pci/drivers_probe")).unwrap(), "0000:00:03.0");
    }

    #[test]
    fn a_foreign_driver_is_left_alone() {
        let (root, folder) = tree();
        bind(root.path(), &folder, "pci-stub");
        let error = Function::find_all(root.path()).unwrap()[0].take().unwrap_err().to_string();
        assert!(error.contains("pci-stub") && error.contains("unbind"), "{error}");
        assert_eq!(fs::read_to_string(folder.join("driver_override")).unwrap(), "(null)\n");
    }

    #[test]
    fn what_vfio_holds_stays_there_until_it_is_given_back() {
        let (root, folder) = tree();
        bind(root.path(), &folder, VFIO);
        let unbound = || fs::read_to_string(folder.join("driver/unbind")).unwrap_or_default();
        let taken = Function::find_all(root.path()).unwrap()[0].take().unwrap();
        assert_eq!(unbound(), "");
        taken.restore();
        assert_eq!(unbound(), "0000:00:03.0");
    }

    #[test]
    fn the_driver_for_interrupts_gets_the_function_where_it_is_loaded() {
        let (root, folder) = tree();
        let driver = root.path().join("bus/pci/drivers").join(UIO);
        fs::create_dir_all(&driver).unwrap();
        fs::write(driver.join("bind"), "").unwrap();
        let function = &Function::find_all(root.path()).unwrap()[0];
        function.take().unwrap();
        assert!(!function.bind(VFIO) && function.bind(UIO));
        assert_eq!(fs::read_to_string(folder.join("driver_override")).unwrap(), UIO);
        assert_eq!(fs::read_to_string(driver.join("bind")).unwrap(), "0000:00:03.0");
        assert!(function.uio().is_err());
        fs::create_dir_all(folder.join("uio/uio3")).unwrap();
        assert_eq!(function.uio().unwrap(), "uio3");
        function.enable().unwrap();
        function.unmask_interrupts().unwrap();
        let config = function.config().unwrap();
        assert_eq!(u16::from_le_bytes([config[4], config[5]]), 0x0006);
    }

    #[test]
    fn lockdown_mode_is_the_one_in_brackets() {
        let (root, _) = tree();
        assert_eq!(lockdown(root.path()), None);
        fs::create_dir_all(root.path().join("kernel/security")).unwrap();
        fs::write(root.path().join("kernel/security/lockdown"), "none [integrity] confidentiality\n").unwrap();
        assert_eq!(lockdown(root.path()).as_deref(), Some("integrity"));
    }
}
