//! Prints what an image says of its kernels' parameters: `KERNEL OFFSET+SIZE …`, a line a kernel that is asked for.
//!
//!     vgpu-layouts IMAGE KERNEL...

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_default();
    let image = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let layouts = vgpu_images::Layouts::read(&image);
    for kernel in arguments {
        let told = match layouts.get(kernel.as_bytes()) {
            Some(layout) => layout.iter().map(|param| format!(" {}+{}", param.offset, param.size)).collect(),
            None => " unknown".to_owned(),
        };
        println!("{kernel}{told}");
    }
}
