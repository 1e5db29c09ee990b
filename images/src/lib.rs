//! What module images hold, read without a driver: the members of fat binaries ([`fatbin`]), and where the
//! parameters of kernels lie ([`Layouts`]). Every byte is hostile.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]

mod bytes;
mod cubin;
pub mod fatbin;
mod ptx;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::sync::Arc;

use fatbin::Kind;
use vgpu_protocol::ParamInfo;

/// The parameters of a kernel in their order.
pub type Layout = Arc<[ParamInfo]>;

/// Largest parameter block of any kernel (compute capability 7.0 and later), bytes.
const PARAMS_MAX: u32 = 32_764;
/// No more than this is unpacked of one image, bytes.
const UNPACKED_MAX: usize = 1 << 30;

/// Where the parameters of an image's kernels lie in their blocks.
#[derive(Debug, Default)]
pub struct Layouts {
    /// By the kernel's name; `None` where the image does not say it in one way.
    kernels: HashMap<Box<[u8]>, Option<Layout>>,
}

impl Layouts {
    /// Reads PTX text, a cubin, or all members of a fat binary. What cannot be read is left out.
    pub fn read(image: &[u8]) -> Layouts {
        let mut layouts = Layouts::default();
        if !image.starts_with(&fatbin::MAGIC.to_le_bytes()) {
            layouts.add_image(image);
            return layouts;
        }
        let mut left = UNPACKED_MAX;
        for member in fatbin::members(image).unwrap_or_default() {
            if !matches!(member.kind(), Kind::Ptx | Kind::Cubin) {
                continue;
            }
            let Ok(bytes) = member.bytes(left) else { continue };
            if let Cow::Owned(unpacked) = &bytes {
                left = left.saturating_sub(unpacked.len());
            }
            layouts.add_image(&bytes);
        }
        layouts
    }

    /// The parameters of a kernel; `None` if the image does not say, or contradicts itself.
    pub fn get(&self, kernel: &[u8]) -> Option<Layout> {
        self.kernels.get(kernel)?.clone()
    }

    fn add_image(&mut self, image: &[u8]) {
        let mut add = |name: &[u8], layout| self.add(name, layout);
        match image.starts_with(cubin::MAGIC) {
            true => cubin::kernels(image, &mut add),
            false => ptx::kernels(image, &mut add),
        }
    }

    fn add(&mut self, name: &[u8], layout: Option<Vec<ParamInfo>>) {
        let layout = layout.map(Layout::from);
        match self.kernels.entry(name.into()) {
            Entry::Vacant(place) => drop(place.insert(layout)),
            Entry::Occupied(known) if *known.get() == layout => {}
            Entry::Occupied(mut known) => drop(known.insert(None)),
        }
    }
}
