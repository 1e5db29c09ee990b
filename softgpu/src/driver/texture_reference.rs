//! Texture and surface references (deprecated by CUDA): variables of modules, bound from the host.

use std::ffi::c_char;

use vgpu_protocol::cuda::{
    is_array_format, BorderColor, CUarray, CUmipmappedArray, CUmodule, CUresult, CUsurfref, CUtexref,
    CUDA_ARRAY_DESCRIPTOR, RESOURCE_LINEAR, RESOURCE_PITCH2D,
};

use super::abi::{guard, name as name_of, out, out_opt, set, values};
use super::core::{current, driver, Result, SurfaceReference, TextureReference};

/// A texture reference by its PTX name.
pub unsafe extern "C" fn cuModuleGetTexRef(pTexRef: *mut CUtexref, hmod: CUmodule, name: *const c_char) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (reference, name) = unsafe { (out(pTexRef)?, name_of(name)?) };
        let driver = driver()?;
        let module = driver.modules.get(hmod as u64).ok_or(CUresult::INVALID_HANDLE)?;
        reference.write(module.reference(driver, name, true)? as CUtexref);
        Ok(())
    })
}

/// A surface reference by its PTX name.
pub unsafe extern "C" fn cuModuleGetSurfRef(pSurfRef: *mut CUsurfref, hmod: CUmodule, name: *const c_char) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (reference, name) = unsafe { (out(pSurfRef)?, name_of(name)?) };
        let driver = driver()?;
        let module = driver.modules.get(hmod as u64).ok_or(CUresult::INVALID_HANDLE)?;
        reference.write(module.reference(driver, name, false)? as CUsurfref);
        Ok(())
    })
}

/// Creates a texture reference that is part of no module.
pub unsafe extern "C" fn cuTexRefCreate(pTexRef: *mut CUtexref) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let reference = unsafe { out(pTexRef) }?;
        reference.write(current()?.create_texture_reference(0, None) as CUtexref);
        Ok(())
    })
}

/// Destroys a texture reference that was created, not got from a module.
pub unsafe extern "C" fn cuTexRefDestroy(hTexRef: CUtexref) -> CUresult {
    guard(|| TextureReference::destroy(hTexRef as u64))
}

fn reference(handle: CUtexref) -> Result<std::sync::Arc<TextureReference>> {
    TextureReference::of(handle as u64)
}

/// Binds an array.
pub unsafe extern "C" fn cuTexRefSetArray(hTexRef: CUtexref, hArray: CUarray, Flags: u32) -> CUresult {
    guard(|| reference(hTexRef)?.change(|state| state.bind_array(hArray as u64, false, Flags)))
}

/// Binds a mipmapped array.
pub unsafe extern "C" fn cuTexRefSetMipmappedArray(
    hTexRef: CUtexref,
    hMipmappedArray: CUmipmappedArray,
    Flags: u32,
) -> CUresult {
    guard(|| reference(hTexRef)?.change(|state| state.bind_array(hMipmappedArray as u64, true, Flags)))
}

/// Binds linear memory; an address that is not aligned needs a place for its offset.
pub unsafe extern "C" fn cuTexRefSetAddress_v2(
    ByteOffset: *mut usize,
    hTexRef: CUtexref,
    dptr: u64,
    bytes: usize,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let offset_out = unsafe { out_opt(ByteOffset) }?;
        let mut offset = 0;
        reference(hTexRef)?.change(|state| {
            offset = state.bind_memory(dptr, bytes as u64, offset_out.is_some())?;
            Ok(())
        })?;
        set(offset_out, offset as usize);
        Ok(())
    })
}

/// Binds rows of memory.
pub unsafe extern "C" fn cuTexRefSetAddress2D_v3(
    hTexRef: CUtexref,
    desc: *const CUDA_ARRAY_DESCRIPTOR,
    dptr: u64,
    Pitch: usize,
) -> CUresult {
    guard(|| {
        // SAFETY: null or readable, by the driver API's contract.
        let shape = unsafe { values(desc, 1) }?.first().ok_or(CUresult::INVALID_VALUE)?;
        let sizes = [shape.Width, shape.Height, Pitch].map(|size| size as u64);
        reference(hTexRef)?.change(|state| state.bind_rows(dptr, sizes, (shape.Format, shape.NumChannels)))
    })
}

/// As `cuTexRefSetAddress2D_v3`.
pub unsafe extern "C" fn cuTexRefSetAddress2D_v2(
    hTexRef: CUtexref,
    desc: *const CUDA_ARRAY_DESCRIPTOR,
    dptr: u64,
    Pitch: usize,
) -> CUresult {
    // SAFETY: the driver API's contract.
    unsafe { cuTexRefSetAddress2D_v3(hTexRef, desc, dptr, Pitch) }
}

/// Sets what memory that is bound consists of.
pub unsafe extern "C" fn cuTexRefSetFormat(hTexRef: CUtexref, fmt: u32, NumPackedComponents: i32) -> CUresult {
    guard(|| {
        let channels = u32::try_from(NumPackedComponents).unwrap_or(0);
        if !is_array_format(fmt) || !matches!(channels, 1 | 2 | 4) {
            return Err(CUresult::INVALID_VALUE);
        }
        reference(hTexRef)?.change(|state| {
            state.format = (fmt, channels);
            Ok(())
        })
    })
}

/// Sets what lies outside along a dimension.
pub unsafe extern "C" fn cuTexRefSetAddressMode(hTexRef: CUtexref, dim: i32, am: u32) -> CUresult {
    guard(|| {
        reference(hTexRef)?.change(|state| {
            let mode = usize::try_from(dim).ok().and_then(|dim| state.texture.addressMode.get_mut(dim));
            let mode = mode.filter(|_| am <= 3).ok_or(CUresult::INVALID_VALUE)?;
            *mode = am;
            Ok(())
        })
    })
}

macro_rules! setters {
    ($($name:ident($($arg:ident: $ty:ty),*) $what:literal if $fits:expr => |$state:ident| $set:block;)*) => {$(
        #[doc = concat!("Sets ", $what, ".")]
        pub unsafe extern "C" fn $name(hTexRef: CUtexref, $($arg: $ty),*) -> CUresult {
            guard(|| {
                let reference = reference(hTexRef)?;
                if !$fits {
                    return Err(CUresult::INVALID_VALUE);
                }
                reference.change(|$state| {
                    $set
                    Ok(())
                })
            })
        }
    )*};
}

setters! {
    cuTexRefSetFilterMode(fm: u32) "whether texels are interpolated" if fm <= 1 => |s| { s.texture.filterMode = fm; };
    cuTexRefSetMipmapFilterMode(fm: u32) "whether levels are interpolated" if fm <= 1
        => |s| { s.texture.mipmapFilterMode = fm; };
    cuTexRefSetMipmapLevelBias(bias: f32) "what is added to the level" if true
        => |s| { s.texture.mipmapLevelBias = bias; };
    cuTexRefSetMipmapLevelClamp(minMipmapLevelClamp: f32, maxMipmapLevelClamp: f32) "the lowest and highest level" if true
        => |s| {
            s.texture.minMipmapLevelClamp = minMipmapLevelClamp;
            s.texture.maxMipmapLevelClamp = maxMipmapLevelClamp;
        };
    cuTexRefSetMaxAnisotropy(maxAniso: u32) "the most anisotropy, which is ignored" if true
        => |s| { s.texture.maxAnisotropy = maxAniso; };
    cuTexRefSetFlags(Flags: u32) "`CU_TRSF_` flags" if Flags & !0x73 == 0 => |s| { s.texture.flags = Flags; };
}

/// Sets the colour outside.
pub unsafe extern "C" fn cuTexRefSetBorderColor(hTexRef: CUtexref, pBorderColor: *const BorderColor) -> CUresult {
    guard(|| {
        // SAFETY: null or readable, by the driver API's contract.
        let colour = unsafe { values(pBorderColor, 1) }?.first().ok_or(CUresult::INVALID_VALUE)?;
        reference(hTexRef)?.change(|state| {
            state.texture.borderColor = colour.channels;
            Ok(())
        })
    })
}

/// The memory that is bound.
pub unsafe extern "C" fn cuTexRefGetAddress_v2(pdptr: *mut u64, hTexRef: CUtexref) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pointer = unsafe { out(pdptr) }?;
        let resource = reference(hTexRef)?.state().resource.ok_or(CUresult::INVALID_VALUE)?;
        if !matches!(resource.resType, RESOURCE_LINEAR | RESOURCE_PITCH2D) {
            return Err(CUresult::INVALID_VALUE);
        }
        pointer.write(resource.res[0]);
        Ok(())
    })
}

/// The array that is bound.
pub unsafe extern "C" fn cuTexRefGetArray(phArray: *mut CUarray, hTexRef: CUtexref) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let array = unsafe { out(phArray) }?;
        array.write(reference(hTexRef)?.state().array(false)? as CUarray);
        Ok(())
    })
}

/// The mipmapped array that is bound.
pub unsafe extern "C" fn cuTexRefGetMipmappedArray(
    phMipmappedArray: *mut CUmipmappedArray,
    hTexRef: CUtexref,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let array = unsafe { out(phMipmappedArray) }?;
        array.write(reference(hTexRef)?.state().array(true)? as CUmipmappedArray);
        Ok(())
    })
}

/// What lies outside along a dimension.
pub unsafe extern "C" fn cuTexRefGetAddressMode(pam: *mut u32, hTexRef: CUtexref, dim: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let mode = unsafe { out(pam) }?;
        let modes = reference(hTexRef)?.state().texture.addressMode;
        let found = usize::try_from(dim).ok().and_then(|dim| modes.get(dim).copied());
        mode.write(found.ok_or(CUresult::INVALID_VALUE)?);
        Ok(())
    })
}

macro_rules! getters {
    ($($name:ident($($out:ident: $ty:ty = |$state:ident| $value:expr),*) $what:literal;)*) => {$(
        #[doc = concat!("Gives ", $what, ".")]
        pub unsafe extern "C" fn $name($($out: *mut $ty,)* hTexRef: CUtexref) -> CUresult {
            guard(|| {
                let state = reference(hTexRef)?.state();
                $({
                    // SAFETY: null or writable, by the driver API's contract.
                    let place = unsafe { out($out) }?;
                    let $state = &state;
                    place.write($value);
                })*
                Ok(())
            })
        }
    )*};
}

getters! {
    cuTexRefGetFilterMode(pfm: u32 = |s| s.texture.filterMode) "whether texels are interpolated";
    cuTexRefGetFormat(pFormat: u32 = |s| s.format.0, pNumChannels: i32 = |s| s.format.1 as i32) "format and channels";
    cuTexRefGetMipmapFilterMode(pfm: u32 = |s| s.texture.mipmapFilterMode) "whether levels are interpolated";
    cuTexRefGetMipmapLevelBias(pbias: f32 = |s| s.texture.mipmapLevelBias) "what is added to the level";
    cuTexRefGetMipmapLevelClamp(
        pminMipmapLevelClamp: f32 = |s| s.texture.minMipmapLevelClamp,
        pmaxMipmapLevelClamp: f32 = |s| s.texture.maxMipmapLevelClamp
    ) "the lowest and highest level";
    cuTexRefGetMaxAnisotropy(pmaxAniso: i32 = |s| s.texture.maxAnisotropy as i32) "the most anisotropy";
    cuTexRefGetBorderColor(pBorderColor: BorderColor = |s| BorderColor { channels: s.texture.borderColor })
        "the colour outside";
    cuTexRefGetFlags(pFlags: u32 = |s| s.texture.flags) "`CU_TRSF_` flags";
}

/// Binds an array to a surface reference.
pub unsafe extern "C" fn cuSurfRefSetArray(hSurfRef: CUsurfref, hArray: CUarray, Flags: u32) -> CUresult {
    guard(|| {
        let reference = SurfaceReference::of(hSurfRef as u64)?;
        if Flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        reference.bind(hArray as u64)
    })
}

/// The array that is bound to a surface reference.
pub unsafe extern "C" fn cuSurfRefGetArray(phArray: *mut CUarray, hSurfRef: CUsurfref) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let array = unsafe { out(phArray) }?;
        array.write(SurfaceReference::of(hSurfRef as u64)?.array()? as CUarray);
        Ok(())
    })
}
