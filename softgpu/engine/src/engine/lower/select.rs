//! Choosing the compiled handler for an operand type.

/// The handler `$map<$op<T>>` for an integer type of 16 to 64 bits.
macro_rules! by_int {
    ($ty:expr, $map:ident, $op:ident) => {
        match $ty {
            IntType::U16 => Some(select::<$map<$op<u16>>>()),
            IntType::S16 => Some(select::<$map<$op<i16>>>()),
            IntType::U32 => Some(select::<$map<$op<u32>>>()),
            IntType::S32 => Some(select::<$map<$op<i32>>>()),
            IntType::U64 => Some(select::<$map<$op<u64>>>()),
            IntType::S64 => Some(select::<$map<$op<i64>>>()),
            IntType::U8 | IntType::S8 | IntType::U16x2 | IntType::S16x2 => None,
        }
    };
}

/// The handler `$handler<$first, T>` for an integer type of 8 to 64 bits.
macro_rules! by_any_int {
    ($ty:expr, $select:ident, $handler:ident, $first:ty) => {
        match $ty {
            IntType::U8 => Some($select::<$handler<$first, u8>>()),
            IntType::S8 => Some($select::<$handler<$first, i8>>()),
            IntType::U16 => Some($select::<$handler<$first, u16>>()),
            IntType::S16 => Some($select::<$handler<$first, i16>>()),
            IntType::U32 => Some($select::<$handler<$first, u32>>()),
            IntType::S32 => Some($select::<$handler<$first, i32>>()),
            IntType::U64 => Some($select::<$handler<$first, u64>>()),
            IntType::S64 => Some($select::<$handler<$first, i64>>()),
            IntType::U16x2 | IntType::S16x2 => None,
        }
    };
}

/// The handler `$handler<T>` for an integer type of 8 to 64 bits.
macro_rules! of_any_int {
    ($ty:expr, $($handler:tt)*) => {
        match $ty {
            IntType::U8 => Some(of_any_int!(@ u8, $($handler)*)),
            IntType::S8 => Some(of_any_int!(@ i8, $($handler)*)),
            IntType::U16 => Some(of_any_int!(@ u16, $($handler)*)),
            IntType::S16 => Some(of_any_int!(@ i16, $($handler)*)),
            IntType::U32 => Some(of_any_int!(@ u32, $($handler)*)),
            IntType::S32 => Some(of_any_int!(@ i32, $($handler)*)),
            IntType::U64 => Some(of_any_int!(@ u64, $($handler)*)),
            IntType::S64 => Some(of_any_int!(@ i64, $($handler)*)),
            IntType::U16x2 | IntType::S16x2 => None,
        }
    };
    (@ $ty:ty, map $op:ident) => { plain::<Map1<$op<$ty>>>() };
    (@ $ty:ty, from $handler:ident to $to:ty) => { select::<$handler<$ty, $to>>() };
    (@ $ty:ty, $handler:ident) => { plain::<$handler<$ty>>() };
}

/// The handler of a [`FloatFn`](super::super::ops::float::FloatFn) for a float type.
macro_rules! by_float {
    ($ty:expr, $op:ident) => {
        match $ty {
            FloatType::F32 => select::<Single<$op>>(),
            FloatType::F64 => select::<Double<$op>>(),
            FloatType::F32x2 => plain::<SinglePair<$op>>(),
            FloatType::F16 => plain::<Half<$op, F16, false>>(),
            FloatType::F16x2 => plain::<Half<$op, F16, true>>(),
            FloatType::BF16 => plain::<Half<$op, BF16, false>>(),
            FloatType::BF16x2 => plain::<Half<$op, BF16, true>>(),
        }
    };
}

pub(super) use {by_any_int, by_float, by_int, of_any_int};
