use crate::kit::*;

fn text(name: &[i8]) -> String {
    let bytes = name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0);
    String::from_utf8(bytes.collect()).unwrap()
}

fn attribute(number: i32) -> Result<i32, CUresult> {
    let mut value = -7;
    match cu!(cuDeviceGetAttribute(&mut value, number, 0)) {
        CUresult::SUCCESS => Ok(value),
        error => Err(error),
    }
}

#[test]
fn the_device_says_what_it_is() {
    let mut name = [1_i8; 256];
    ok!(cuDeviceGetName(name.as_mut_ptr(), 256, 0));
    assert_eq!(text(&name), "vhost-user-vgpu software GPU (2 cores)");
    ok!(cuDeviceGetName(name.as_mut_ptr(), 6, 0));
    assert_eq!(text(&name), "vhost");
    let (mut total, mut count, mut version) = (0, 0, 0);
    ok!(cuDeviceTotalMem_v2(&mut total, 0));
    ok!(cuDeviceGetCount(&mut count));
    ok!(cuDriverGetVersion(&mut version));
    assert_eq!((total as u64, count, version), (MEMORY, 1, 13000));
}

#[test]
fn attributes_cover_the_table_and_no_more() {
    assert!((1..=161).all(|number| attribute(number).is_ok()));
    for number in [i32::MIN, -1, 0, 162, i32::MAX] {
        assert_eq!(attribute(number), Err(CUresult::INVALID_VALUE), "{number}");
    }
    assert_eq!([75, 76, 10, 16, 1].map(attribute), [Ok(8), Ok(0), Ok(32), Ok(2), Ok(1024)]);
}

#[test]
fn other_devices_and_null_results_are_refused() {
    let mut value = 0;
    assert_eq!(cu!(cuDeviceGet(&mut value, 1)), CUresult::INVALID_DEVICE);
    assert_eq!(cu!(cuDeviceGetAttribute(&mut value, 1, -1)), CUresult::INVALID_DEVICE);
    assert_eq!(cu!(cuDeviceGetCount(std::ptr::null_mut())), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuDeviceGetName(std::ptr::null_mut(), 8, 0)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuDeviceGetName([0_i8; 8].as_mut_ptr(), 0, 0)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuInit(1)), CUresult::INVALID_VALUE);
}

#[test]
fn configuration_comes_before_initialisation() {
    api();
    let error = vgpu_softgpu::configure(Default::default()).unwrap_err();
    assert!(error.to_string().contains("before cuInit"), "{error}");
}
