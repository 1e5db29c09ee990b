//! Texture and surface instructions.

use crate::device::{Arg, Device};
use vgpu_engine::engine::texture::{AddressMode, Channel, Format, Image, Level, Object, Sampler, Shape, Texture};
use vgpu_engine::engine::{Fault, FaultKind};

const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

const SAMPLER: Sampler = Sampler {
    address: [AddressMode::Clamp; 3],
    linear: false,
    normalized_coordinates: false,
    normalized_values: true,
    srgb: false,
    border: [0.0; 4],
    linear_levels: false,
    level_bias: 0.0,
    level_clamp: [0.0, 10.0],
    buffer: false,
};

/// A kernel of one thread that gets a handle in `%rd1` and leaves up to four words in `%r1` to `%r4`.
fn run(d: &Device, handle: u64, code: &str) -> Result<Vec<u32>, Fault> {
    let source = format!(
        "{HEADER}.visible .entry k(.param .u64 h, .param .u64 out) {{\n.reg .b64 %rd<9>; .reg .b32 %r<20>; \
         .reg .f32 %f<20>; .reg .b16 %h<9>; .reg .pred %p<9>;\nld.param.u64 %rd1, [h]; ld.param.u64 %rd2, [out];\n\
         mov.b32 %r1, 0; mov.b32 %r2, 0; mov.b32 %r3, 0; mov.b32 %r4, 0;\n{code}\n\
         st.global.v4.u32 [%rd2], {{%r1, %r2, %r3, %r4}}; ret; }}"
    );
    let program = d.load(&source);
    let out = d.words(&[0; 4]);
    d.launch(&program, "k", ([1; 3], [1; 3]), &[Arg::U64(handle), Arg::U64(out)])?;
    Ok(d.read(out, 4))
}

/// Texels of four bytes whose value is their index, `size` of them.
fn image(d: &Device, size: [u32; 3], shape: Shape) -> Image {
    let words: Vec<u32> = (0..size.iter().product()).collect();
    let (pitch, rows) = (u64::from(size[0]) * 4, u64::from(size[1]));
    let level = Level { base: d.words(&words), pitch, slice: pitch * rows, size };
    let format = Format { channel: Channel::Unsigned, channel_bytes: 4, channels: 1 };
    Image { format, shape, levels: vec![level], owner: None }
}

fn texture(d: &Device, image: Image, sampler: Sampler) -> u64 {
    d.objects.insert(Object::Texture(Texture { image, sampler })).unwrap()
}

#[test]
fn fetches_take_layers_and_coordinates_in_the_order_of_the_isa() {
    let d = Device::new();
    let t = texture(&d, image(&d, [8, 4, 12], Shape::Layered), SAMPLER);
    let fetch = |code: &str| run(&d, t, code).unwrap()[0];
    assert_eq!(fetch("mov.f32 %f1, 0f40200000; tex.1d.v4.u32.f32 {%r1, %r5, %r6, %r7}, [%rd1, {%f1}];"), 2);
    assert_eq!(fetch("mov.b32 %r9, 3; tex.1d.v4.u32.s32 {%r1, _, _, _}, [%rd1, %r9];"), 3);
    let layered = "mov.b32 %r9, 5; mov.f32 %f1, 0f40200000; mov.f32 %f2, 0f3f800000;\n\
                   tex.a2d.v4.u32.f32 {%r1, %r5, %r6, %r7}, [%rd1, {%r9, %f1, %f2, %f2}];";
    assert_eq!(fetch(layered), 5 * 32 + 8 + 2);
    let resident =
        "mov.b32 %r9, 1; tex.2d.v4.u32.s32 {%r1, %r5, %r6, %r7}|%p1, [%rd1, {%r9, %r9}]; selp.b32 %r2, 7, 0, %p1;";
    assert_eq!(run(&d, t, resident).unwrap()[..2], [9, 7]);
    let cubes = texture(&d, image(&d, [4, 4, 12], Shape::Cube), SAMPLER);
    let cube = "mov.b32 %r9, 1; mov.f32 %f1, 0fbf800000; mov.f32 %f2, 0f00000000;\n\
                tex.acube.v4.u32.f32 {%r1, %r5, %r6, %r7}, [%rd1, {%r9, %f1, %f2, %f2}];";
    assert_eq!(run(&d, cubes, cube).unwrap()[0], (6 + 1) * 16 + 2 * 4 + 2);
    let beyond = cube.replace("mov.b32 %r9, 1;", "mov.b32 %r9, -1;");
    assert_eq!(run(&d, cubes, &beyond).unwrap()[0], (6 + 1) * 16 + 2 * 4 + 2, "the last cube");
}

#[test]
fn gathers_and_halves_have_the_order_of_the_isa() {
    let d = Device::new();
    let t = texture(&d, image(&d, [8, 4, 1], Shape::Solid), SAMPLER);
    let gather = "mov.f32 %f1, 0f40000000; tld4.r.2d.v4.u32.f32 {%r1, %r2, %r3, %r4}, [%rd1, {%f1, %f1}];";
    assert_eq!(run(&d, t, gather).unwrap(), [17, 18, 10, 9]);
    let mut bytes = image(&d, [8, 1, 1], Shape::Solid);
    bytes.format = Format { channel: Channel::UnsignedNormalized, channel_bytes: 1, channels: 4 };
    d.memory.write(bytes.levels[0].base, &[255, 0, 51, 255]).unwrap();
    let t = texture(&d, bytes, SAMPLER);
    let halves = "mov.f32 %f1, 0f3f000000; tex.2d.v2.f16x2.f32 {%r1, %r2}, [%rd1, {%f1, %f1}];";
    assert_eq!(run(&d, t, halves).unwrap()[..2], [0x0000_3c00, 0x3c00_3266]);
}

#[test]
fn surfaces_are_stored_formatted_reduced_and_queried() {
    let d = Device::new();
    let mut bytes = image(&d, [4, 2, 1], Shape::Solid);
    bytes.format = Format { channel: Channel::SignedNormalized, channel_bytes: 1, channels: 4 };
    let base = bytes.levels[0].base;
    let s = d.objects.insert(Object::Surface(bytes)).unwrap();
    let store = "mov.b32 %r9, 1; mov.b32 %r10, 0f3f800000; mov.b32 %r11, 0fbf000000;\n\
                 sust.p.2d.v4.b32.trap [%rd1, {%r9, %r9}], {%r10, %r11, %r10, %r11};\n\
                 suq.channel_data_type.b32 %r1, [%rd1]; suq.width.b32 %r2, [%rd1];\n\
                 istypep.surfref %p1, %rd1; istypep.texref %p2, %rd1; selp.b32 %r3, 1, 0, %p1; selp.b32 %r4, 1, 0, %p2;";
    assert_eq!(run(&d, s, store).unwrap(), [0x10d0, 4, 1, 0]);
    assert_eq!(d.read(base + 16 + 4, 1), [u32::from_le_bytes([127, 192, 127, 192])]);
    let reduce = "mov.b32 %r9, 0; mov.b64 %rd3, 5; sured.b.add.1d.u64.trap [%rd1, {%r9}], %rd3; \
                  suld.b.1d.v2.b64.zero {%rd4, %rd5}, [%rd1, {%r9}]; cvt.u32.u64 %r1, %rd4;\n\
                  suld.b.1d.b16.zero {%h1}, [%rd1, {%r9}]; cvt.u32.u16 %r2, %h1;";
    assert_eq!(run(&d, s, reduce).unwrap()[..2], [5, 5]);
}

#[test]
fn numbers_that_are_no_objects_are_faults() {
    let d = Device::new();
    let t = texture(&d, image(&d, [8, 4, 1], Shape::Solid), SAMPLER);
    let s = d.objects.insert(Object::Surface(image(&d, [8, 4, 1], Shape::Solid))).unwrap();
    let gone = texture(&d, image(&d, [8, 4, 1], Shape::Solid), SAMPLER);
    d.objects.remove(gone);
    let host = std::ptr::from_ref(&d) as u64;
    let fetch = "mov.b32 %r9, 0; tex.2d.v4.u32.s32 {%r1, %r2, %r3, %r4}, [%rd1, {%r9, %r9}];";
    let load = "mov.b32 %r9, 0; suld.b.2d.b32.clamp {%r1}, [%rd1, {%r9, %r9}];";
    let query = "txq.width.b32 %r1, [%rd1];";
    for bad in [0, 1, u64::MAX, host, gone, t ^ 1 << 33, s + 7, d.words(&[1])] {
        for code in [fetch, load, query] {
            let fault = run(&d, bad, code).unwrap_err();
            assert_eq!((fault.kind, fault.address), (FaultKind::IllegalAddress, bad), "{bad:#x} {code}");
        }
        let is_type = "istypep.texref %p1, %rd1; selp.b32 %r1, 1, 0, %p1;";
        assert_eq!(run(&d, bad, is_type).unwrap()[0], 0);
    }
    assert_eq!(run(&d, s, fetch).unwrap_err().kind, FaultKind::IllegalAddress, "a surface is no texture");
    assert_eq!(run(&d, t, load).unwrap_err().kind, FaultKind::IllegalAddress, "a texture is no surface");
}

#[test]
fn images_whose_memory_is_gone_are_faults() {
    let d = Device::new();
    let linear = image(&d, [256, 1, 1], Shape::Solid);
    let base = linear.levels[0].base;
    let t = texture(&d, linear, Sampler { buffer: true, ..SAMPLER });
    let fetch = "mov.b32 %r9, 200; tex.1d.v4.u32.s32 {%r1, %r2, %r3, %r4}, [%rd1, {%r9}];";
    assert_eq!(run(&d, t, fetch).unwrap()[0], 200);
    d.memory.free(base).unwrap();
    assert_eq!(run(&d, t, fetch).unwrap_err().kind, FaultKind::IllegalAddress);
}

#[test]
fn absurd_coordinates_read_the_image_or_nothing_else() {
    let d = Device::new();
    for address in [AddressMode::Wrap, AddressMode::Clamp, AddressMode::Mirror, AddressMode::Border] {
        for (linear, normalized_coordinates) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut floats = image(&d, [5, 3, 2], Shape::Solid);
            floats.format.channel = Channel::Float;
            let sampler = Sampler { address: [address; 3], linear, normalized_coordinates, ..SAMPLER };
            let t = texture(&d, floats, sampler);
            for bits in [0x7f80_0000u32, 0xff80_0000, 0x7fc0_0000, 0x7f7f_ffff, 0xff7f_ffff, 1, 0x8000_0000] {
                let code = format!(
                    "mov.b32 %f1, {bits}; tex.3d.v4.f32.f32 {{%f5, %f6, %f7, %f8}}, [%rd1, {{%f1, %f1, %f1, %f1}}];\n\
                     tex.level.cube.v4.f32.f32 {{%f5, %f6, %f7, %f8}}, [%rd1, {{%f1, %f1, %f1, %f1}}], %f1;\n\
                     tex.grad.2d.v4.f32.f32 {{%f5, %f6, %f7, %f8}}, [%rd1, {{%f1, %f1}}], {{%f1, %f1}}, {{%f1, %f1}};\n\
                     tld4.a.2d.v4.f32.f32 {{%f5, %f6, %f7, %f8}}, [%rd1, {{%f1, %f1}}];"
                );
                run(&d, t, &code).unwrap_or_else(|fault| panic!("{address:?} {bits:#x}: {fault}"));
            }
        }
    }
}
