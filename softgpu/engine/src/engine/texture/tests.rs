use super::coordinate::{around, face, nearest, wrap, Pair};
use super::level::{levels, Levels};
use super::*;

const SAMPLER: Sampler = Sampler {
    address: [AddressMode::Clamp; 3],
    linear: false,
    normalized_coordinates: false,
    normalized_values: false,
    srgb: false,
    border: [0.0; 4],
    linear_levels: false,
    level_bias: 0.0,
    level_clamp: [0.0, 100.0],
    buffer: false,
};

fn surface() -> Object {
    let format = Format { channel: Channel::Unsigned, channel_bytes: 1, channels: 4 };
    let level = Level { base: 0x1000, pitch: 64, slice: 256, size: [16, 4, 2] };
    Object::Surface(Image { format, shape: Shape::Solid, levels: vec![level], owner: None })
}

#[test]
fn only_live_handles_find_objects() {
    let objects = Objects::default();
    let first = objects.insert(surface()).unwrap();
    let before = objects.snapshot();
    assert!(before.get(first).is_some());
    assert!(objects.remove(first).is_some() && objects.remove(first).is_none());
    let second = objects.insert(surface()).unwrap();
    assert_eq!(first as u32, second as u32);
    let now = objects.snapshot();
    assert!(before.get(first).is_some() && now.get(first).is_none() && now.get(second).is_some());
    for bad in [0, 1, u64::MAX, second ^ 1 << 60, second + 1, second as u32 as u64, first] {
        assert!(now.get(bad).is_none(), "{bad:#x}");
    }
}

#[test]
fn neighbours_and_weights_are_those_of_the_programming_guide() {
    assert_eq!(around(2.0), Pair { first: 1, weight: 0.5 });
    assert_eq!(around(0.25), Pair { first: -1, weight: 0.75 });
    assert_eq!(around(1.5 + 1.0 / 1024.0), Pair { first: 1, weight: 0.0 });
    assert_eq!([nearest(-0.5), nearest(3.99), nearest(f64::NAN)], [-1, 3, 0]);
    assert_eq!(around(f64::INFINITY).first, (1 << 40) - 1 + 1);
}

#[test]
fn address_modes_repeat_flip_or_end() {
    let texels = |mode| (-3..7).map(|i| wrap(mode, i, 3)).collect::<Vec<_>>();
    let all = |list: [u32; 10]| list.map(Some).to_vec();
    assert_eq!(texels(AddressMode::Wrap), all([0, 1, 2, 0, 1, 2, 0, 1, 2, 0]));
    assert_eq!(texels(AddressMode::Mirror), all([2, 1, 0, 0, 1, 2, 2, 1, 0, 0]));
    assert_eq!(texels(AddressMode::Clamp), all([0, 0, 0, 0, 1, 2, 2, 2, 2, 2]));
    assert_eq!(texels(AddressMode::Border).iter().flatten().count(), 3);
}

#[test]
fn directions_lead_to_faces() {
    let faces =
        [[1.0, 0.5, 0.0], [-1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, -1.0, 0.0], [0.1, 0.0, 1.0], [0.0, 0.0, -1.0]];
    assert_eq!(faces.map(|direction| face(direction).0), [0, 1, 2, 3, 4, 5]);
    assert_eq!(face([1.0, 0.5, 0.0]).1, [0.5, 0.25]);
    assert_eq!(face([0.0; 3]).1, [0.5; 2]);
}

#[test]
fn levels_are_clamped_and_weighted() {
    assert_eq!(levels(&SAMPLER, 1.6, 4), Levels { first: 2, second: 2, weight: 0.0 });
    let linear = Sampler { linear_levels: true, ..SAMPLER };
    assert_eq!(levels(&linear, 1.25, 4), Levels { first: 1, second: 2, weight: 0.25 });
    assert_eq!(levels(&linear, f64::INFINITY, 4), Levels { first: 3, second: 3, weight: 0.0 });
    for absurd in [f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(levels(&linear, absurd, 4).first, 0);
    }
    let clamped = Sampler { level_clamp: [f32::NAN, f32::NAN], ..linear };
    assert!(levels(&clamped, 2.0, 3).first < 3);
}

#[test]
fn texels_are_encoded_as_their_format_says() {
    let format = |channel, channel_bytes| Format { channel, channel_bytes, channels: 1 };
    assert_eq!(format(Channel::Signed, 1).encode(-200i32 as u32) as u8, 0x80);
    assert_eq!(format(Channel::Unsigned, 2).encode(70_000), 65_535);
    assert_eq!(format(Channel::UnsignedNormalized, 1).encode(0.5f32.to_bits()), 128);
    assert_eq!(format(Channel::SignedNormalized, 1).float(0x80), -1.0);
    assert_eq!(format(Channel::Float, 2).float(0x3c00), 1.0);
    assert_eq!(format(Channel::Float, 2).encode(1.5f32.to_bits()), 0x3e00);
    assert_eq!(format(Channel::Unsigned, 1).float(255), 1.0);
}

#[test]
fn places_outside_of_a_surface_are_never_addresses() {
    let Object::Surface(image) = surface() else { return };
    assert_eq!(image.locate([4, 1, 1], 4, Bounds::Trap), Location::At(0x1000 + 4 + 64 + 256));
    for at in [[-1, 0, 0], [64, 0, 0], [0, 4, 0], [0, 0, 2], [i32::MIN; 3], [i32::MAX; 3]] {
        assert_eq!(image.locate(at, 4, Bounds::Trap), Location::Trap, "{at:?}");
        assert_eq!(image.locate(at, 4, Bounds::Zero), Location::Nowhere, "{at:?}");
        let Location::At(address) = image.locate(at, 4, Bounds::Clamp) else { panic!("{at:?}") };
        assert!((0x1000..0x1000 + 512).contains(&address), "{at:?}");
    }
    assert_eq!(image.locate([0; 3], 128, Bounds::Clamp), Location::Trap);
}
