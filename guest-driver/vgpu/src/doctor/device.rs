//! Checks of the PCI function and what the broker needs to drive it.

use std::path::Path;

use vgpu_virtio::pci::hugepages::Hugepages;
use vgpu_virtio::pci::sysfs::{self, Function};

use super::service::Service;
use super::Finding;

const QEMU_LINE: &str = "start QEMU (>= 10.2) with: -object memory-backend-memfd,id=mem,size=4G,share=on \
     -M q35,memory-backend=mem -chardev socket,id=vgpu,path=SOCKET \
     -device vhost-user-test-device-pci,chardev=vgpu,virtio-id=39,num_vqs=16,vq_size=256,config_size=64";

/// Hugepages below which clients' first chunks are likely to fail.
const FEW_HUGEPAGES: u64 = 16;

/// The checks of the device, which a loopback broker does not have.
pub fn check(service: &Service) -> Vec<Finding> {
    const CHECKS: [&str; 4] = ["PCI device", "kernel lockdown", "driver", "hugepages"];
    if service.is_loopback() {
        return CHECKS.map(|check| Finding::skip(check, "loopback: there is no VM")).to_vec();
    }
    let sysfs = Path::new("/sys");
    let [device, lockdown, driver, hugepages] = CHECKS;
    let functions = Function::find_all(sysfs).unwrap_or_default();
    let mut findings = Vec::new();
    match functions.first() {
        Some(function) => {
            findings.push(Finding::ok(device, format!("{} [1af4:1067]", function.address())));
            findings.push(check_driver(driver, function));
        }
        None => findings.push(Finding::fail(device, "no function with id 1af4:1067 on the PCI bus", QEMU_LINE)),
    }
    findings.insert(1, check_lockdown(lockdown, sysfs::lockdown(sysfs).as_deref()));
    findings.push(check_hugepages(hugepages, Hugepages::new(sysfs).available(), service.is_running()));
    findings
}

fn check_lockdown(check: &'static str, mode: Option<&str>) -> Finding {
    match mode {
        None | Some("none") => Finding::ok(check, "off"),
        Some(mode) => Finding::fail(
            check,
            format!("\"{mode}\": the kernel refuses access to the device's memory, even to root"),
            "switch Secure Boot off in the VM's firmware",
        ),
    }
}

fn check_driver(check: &'static str, function: &Function) -> Finding {
    let address = function.address();
    match function.driver().as_deref() {
        None => Finding::ok(check, "none: vgpud drives the device, without interrupts"),
        Some(driver @ (sysfs::VFIO | sysfs::UIO)) => {
            Finding::ok(check, format!("{driver}: vgpud drives the device, with interrupts"))
        }
        Some("virtio-pci") => Finding::ok(check, "virtio-pci: vgpud takes the device when it starts"),
        Some(driver) => Finding::fail(
            check,
            format!("{driver} holds {address}"),
            format!("echo {address} > /sys/bus/pci/drivers/{driver}/unbind; systemctl restart vgpud"),
        ),
    }
}

fn check_hugepages(check: &'static str, available: u64, running: bool) -> Finding {
    let detail = format!("{available} of 2 MiB free");
    let fix = "sysctl vm.nr_hugepages=64 (as root), and put it into /etc/sysctl.d/vgpu.conf";
    match (available, running) {
        (FEW_HUGEPAGES.., _) => Finding::ok(check, detail),
        // A running broker holds what its queues need, and reserves more as it goes.
        (_, true) => Finding::ok(check, format!("{detail}; vgpud reserves more as needed")),
        (_, false) => Finding::warn(check, format!("{detail}; vgpud tries to reserve more when it starts"), fix),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn lockdown_fails_and_names_secure_boot() {
        assert_eq!(check_lockdown("x", Some("none")).status, Status::Ok);
        let finding = check_lockdown("x", Some("integrity"));
        assert_eq!(finding.status, Status::Fail);
        assert!(finding.fix.unwrap().contains("Secure Boot"));
    }

    #[test]
    fn few_hugepages_are_a_warning_without_a_broker() {
        assert_eq!(check_hugepages("x", 0, false).status, Status::Warn);
        assert_eq!(check_hugepages("x", 0, true).status, Status::Ok);
        assert_eq!(check_hugepages("x", 64, false).status, Status::Ok);
    }
}
