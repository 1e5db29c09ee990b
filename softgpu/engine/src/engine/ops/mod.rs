//! The bodies of the micro-operations.

pub(super) mod atomic;
pub(super) mod barrier;
pub(super) mod call;
pub(super) mod check;
pub(super) mod compare;
pub(super) mod control;
pub(super) mod convert;
pub(super) mod float;
pub(super) mod half;
pub(super) mod int;
pub(super) mod lane;
pub(super) mod matrix;
pub(super) mod memory;
pub(super) mod moves;
pub(super) mod special;
pub(super) mod texture;
pub(super) mod video;
pub(super) mod warp;

use super::code::{Op, LANES};
use super::cx::{Cx, Flow};
use super::isa::Handler;
use lane::Lane;
use std::marker::PhantomData;

/// A function of one lane's values.
pub(super) trait Fn1 {
    type A: Lane;
    type R: Lane;
    fn call(a: Self::A) -> Self::R;
}

/// See [`Fn1`].
pub(super) trait Fn2 {
    type A: Lane;
    type B: Lane;
    type R: Lane;
    fn call(a: Self::A, b: Self::B) -> Self::R;
}

/// See [`Fn1`].
pub(super) trait Fn3 {
    type A: Lane;
    type B: Lane;
    type C: Lane;
    type R: Lane;
    fn call(a: Self::A, b: Self::B, c: Self::C) -> Self::R;
}

/// `dst = F(a)`
pub(super) struct Map1<F>(PhantomData<F>);
/// `dst = F(a, b)`
pub(super) struct Map2<F>(PhantomData<F>);
/// `dst = F(a, b, c)`
pub(super) struct Map3<F>(PhantomData<F>);

impl<F: Fn1> Handler for Map1<F> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = F::A::read(cx, op.a);
        let mut r = [F::R::default(); LANES];
        for i in 0..LANES {
            r[i] = F::call(a[i]);
        }
        F::R::write(cx, op.dst, r);
        Flow::Next
    }
}

impl<F: Fn2> Handler for Map2<F> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = F::A::read(cx, op.a);
        let b = F::B::read(cx, op.b);
        let mut r = [F::R::default(); LANES];
        for i in 0..LANES {
            r[i] = F::call(a[i], b[i]);
        }
        F::R::write(cx, op.dst, r);
        Flow::Next
    }
}

impl<F: Fn3> Handler for Map3<F> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = F::A::read(cx, op.a);
        let b = F::B::read(cx, op.b);
        let c = F::C::read(cx, op.c);
        let mut r = [F::R::default(); LANES];
        for i in 0..LANES {
            r[i] = F::call(a[i], b[i], c[i]);
        }
        F::R::write(cx, op.dst, r);
        Flow::Next
    }
}

/// Defines a type that implements [`Fn1`], [`Fn2`] or [`Fn3`].
macro_rules! lane_fn {
    ($name:ident $(<$g:ident: $bound:ident>)? ($a:ident: $at:ty) -> $r:ty $body:block) => {
        pub(in crate::engine) struct $name$(<$g>(std::marker::PhantomData<$g>))?;
        impl$(<$g: $bound>)? super::Fn1 for $name$(<$g>)? {
            type A = $at;
            type R = $r;
            #[inline(always)]
            fn call($a: $at) -> $r $body
        }
    };
    ($name:ident $(<$g:ident: $bound:ident>)? ($a:ident: $at:ty, $b:ident: $bt:ty) -> $r:ty $body:block) => {
        pub(in crate::engine) struct $name$(<$g>(std::marker::PhantomData<$g>))?;
        impl$(<$g: $bound>)? super::Fn2 for $name$(<$g>)? {
            type A = $at;
            type B = $bt;
            type R = $r;
            #[inline(always)]
            fn call($a: $at, $b: $bt) -> $r $body
        }
    };
    ($name:ident $(<$g:ident: $bound:ident>)? ($a:ident: $at:ty, $b:ident: $bt:ty, $c:ident: $ct:ty) -> $r:ty $body:block) => {
        pub(in crate::engine) struct $name$(<$g>(std::marker::PhantomData<$g>))?;
        impl$(<$g: $bound>)? super::Fn3 for $name$(<$g>)? {
            type A = $at;
            type B = $bt;
            type C = $ct;
            type R = $r;
            #[inline(always)]
            fn call($a: $at, $b: $bt, $c: $ct) -> $r $body
        }
    };
}
pub(super) use lane_fn;
