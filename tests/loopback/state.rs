//! What guests are told of the state of a host's GPUs.

use vgpu_protocol::control::{BackendStatus, ControlOp, ControlStatus, Sensors, UNKNOWN};
use zerocopy::FromBytes;

use crate::backend::{eventually, mock_nvml, Backend};
use crate::client::Client;
use crate::vm::Vm;

fn status(vm: &mut Vm, device: u32) -> BackendStatus {
    let (status, body) = vm.control(ControlOp::Status, device, &[]);
    assert_eq!(status, ControlStatus::Ok);
    BackendStatus::read_from_bytes(&body).unwrap()
}

fn start(options: &[&str]) -> Backend {
    Backend::start_in(&[("MOCK_DEVICES", "2")], options)
}

#[test]
fn test_nvml_tells_the_state_of_each_gpu() {
    let nvml = mock_nvml();
    let backend = start(&["--nvml", nvml.to_str().unwrap()]);
    let mut vm = Vm::start(&backend.socket());
    for device in 0..2 {
        let number = device;
        let told = eventually("NVML answers", || {
            let told = status(&mut vm, device);
            (told.sensors != Sensors::NONE).then_some(told)
        });
        let clocks = [1000, 2000, 3000, 4000].map(|clock| clock + number);
        let expected = Sensors {
            utilization: 50 + number,
            memory_utilization: 25,
            temperature: 40 + number,
            power: 70_500 + number,
            clocks,
            ..Sensors::NONE
        };
        assert_eq!((told.sensors, told.device_count), (expected, 2));
        assert!(told.driver_release.starts_with(b"599.01.02\0"));
        assert_eq!(told.uuid[15], b'0' + device as u8);
    }
    assert_eq!(vm.control(ControlOp::Status, 2, &[]).0, ControlStatus::BadQueue);
}

#[test]
fn test_a_vm_sees_its_own_sessions_memory_only() {
    let nvml = mock_nvml();
    let nvml = nvml.to_str().unwrap();
    let backend = start(&["--nvml", nvml]);
    let other = start(&["--nvml", nvml]);
    let mut vm = Vm::start(&backend.socket());
    let mut others = Vm::start(&other.socket());
    let _elsewhere = Client::open(&mut others, 1);
    let _clients = [Client::open(&mut vm, 1), Client::open(&mut vm, 3)];
    // A reading may be from just before the sessions were there.
    let told = eventually("both sessions are seen", || {
        let told = status(&mut vm, 0);
        (told.memory_used == 2 * (123 << 20)).then_some(told)
    });
    let known: Vec<usize> = (0..64).filter(|queue| told.session_memory[*queue] != u64::MAX).collect();
    assert_eq!(known, [1, 3]);
    assert_eq!(told.session_memory[3], 123 << 20);
}

#[test]
fn test_an_nvml_that_starts_slowly_is_asked_again() {
    let nvml = mock_nvml();
    let environment = [("MOCK_NVML_DELAY", "1500")];
    let backend = Backend::start_in(&environment, &["--nvml", nvml.to_str().unwrap()]);
    let mut vm = Vm::start(&backend.socket());
    eventually("NVML answers", || (status(&mut vm, 0).sensors.temperature == 40).then_some(()));
}

#[test]
fn test_without_nvml_nothing_is_made_up() {
    let missing = ["--nvml", "/nonexistent/libnvidia-ml.so.1"];
    for options in [&["--nvml", "none"], &missing, &[][..]] {
        let backend = start(options);
        let mut vm = Vm::start(&backend.socket());
        let _client = Client::open(&mut vm, 1);
        let told = status(&mut vm, 0);
        assert_eq!(told.sensors, Sensors::NONE);
        assert_eq!(told.sensors.temperature, UNKNOWN);
        assert_eq!((told.driver_release, told.memory_used), ([0; 32], 1 << 29));
    }
}
