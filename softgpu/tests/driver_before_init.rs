//! What the driver answers before `cuInit`; in a process of its own.

use vgpu_protocol::cuda::CUresult;

#[test]
fn calls_before_initialisation_say_so() {
    let api = vgpu_softgpu::driver_api();
    let (mut number, mut address, mut context) = (0, 0, std::ptr::null_mut());
    // SAFETY: the results are valid places.
    let results = unsafe {
        [
            api.cuDeviceGetCount.unwrap()(&mut number),
            api.cuDeviceGet.unwrap()(&mut number, 0),
            api.cuDevicePrimaryCtxRetain.unwrap()(&mut context, 0),
            api.cuCtxGetCurrent.unwrap()(&mut context),
            api.cuCtxSynchronize.unwrap()(),
            api.cuMemAlloc_v2.unwrap()(&mut address, 4),
            api.cuStreamQuery.unwrap()(std::ptr::null_mut()),
            api.cuStreamQuery.unwrap()(std::ptr::without_provenance_mut(64)),
            api.cuEventQuery.unwrap()(std::ptr::null_mut()),
            api.cuMemHostUnregister.unwrap()(std::ptr::null_mut()),
        ]
    };
    assert_eq!(results, [CUresult::NOT_INITIALIZED; 10]);
    // SAFETY: the result is a valid place.
    assert_eq!(unsafe { api.cuDriverGetVersion.unwrap()(&mut number) }, CUresult::SUCCESS);

    let tiny = vgpu_softgpu::Config { memory_bytes: 1 << 20, ..Default::default() };
    assert_eq!(vgpu_softgpu::configure(tiny), Err(vgpu_softgpu::ConfigError::MemoryTooSmall));
    let config = vgpu_softgpu::Config {
        capability: (9, 0),
        uuid: Some([7; 16]),
        pci: (1, 2, 3),
        threads: 3,
        ..Default::default()
    };
    vgpu_softgpu::configure(config).unwrap();
    let mut uuid = vgpu_protocol::cuda::CUuuid::default();
    // SAFETY: the results are valid places.
    unsafe {
        assert_eq!(api.cuInit.unwrap()(0), CUresult::SUCCESS);
        assert_eq!(api.cuDeviceGetUuid_v2.unwrap()(&mut uuid, 0), CUresult::SUCCESS);
        let values = [75, 76, 50, 33, 34, 16].map(|attribute| {
            api.cuDeviceGetAttribute.unwrap()(&mut number, attribute, 0);
            number
        });
        assert_eq!(values, [9, 0, 1, 2, 3, 3]);
    }
    assert_eq!(uuid.bytes, [7; 16]);
}
