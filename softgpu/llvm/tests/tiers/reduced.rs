//! Generated kernels that machine code got wrong, reduced to what did it.

use crate::generated::difference;

fn agree(body: &str, blocks: &[[u32; 3]]) {
    let head = ".version 8.6\n.target sm_80\n.address_size 64\n\
                .visible .entry k(.param .u64 pin, .param .u64 pout, .param .u64 pcounters)\n";
    for block in blocks {
        assert_eq!(difference(&format!("{head}{{{body}}}"), *block), None);
    }
}

#[test]
fn division_by_constants_of_which_one_is_zero_counts_in_the_lane_of_the_zero_only() {
    agree(
        "
    .reg .b32 %r<5>;
    .reg .b64 %d<3>;
    .reg .pred %p;
    ld.param.u64 %d0, [pout];
    mov.u32 %r0, %laneid;
    mul.wide.u32 %d1, %r0, 8;
    add.s64 %d0, %d0, %d1;
    mov.u32 %r1, %laneid;
    div.u32 %r2, 3174795715, %r1;
    rem.s32 %r3, 1000, %r1;
    st.global.u32 [%d0], %r2;
    st.global.u32 [%d0+4], %r3;
    setp.gt.u32 %p, %r0, 7;
    @%p bra DONE;
    mov.u32 %r1, 5;
DONE:
    st.global.u32 [%d0], %r1;
    st.global.u32 [%d0], %r2;
    ret;
        ",
        &[[15, 1, 1], [32, 1, 1], [33, 1, 1]],
    );
}

#[test]
fn predicates_that_are_combined_after_a_barrier_are_compiled_to_an_end() {
    agree(
        "
    .reg .b32 %r<5>;
    .reg .b64 %d<3>;
    .reg .pred %p<5>;
    ld.param.u64 %d0, [pout];
    mov.u32 %r0, %tid.x;
    mul.wide.u32 %d1, %r0, 4;
    add.s64 %d0, %d0, %d1;
    ld.global.u32 %r1, [%d0];
    xor.b32 %r1, %r1, %r0;
    and.b32 %r2, %r1, 1;
    setp.eq.u32 %p0, %r2, 1;
    and.b32 %r2, %r1, 2;
    setp.eq.u32 %p1, %r2, 2;
    bar.sync 0;
    or.pred %p2, %p0, %p1;
    xor.pred %p3, %p0, %p1;
    and.b32 %r2, %r1, 4;
    setp.eq.u32 %p4, %r2, 4;
    @%p4 bra THERE;
    @%p0 add.u32 %r1, %r1, 100;
    @%p1 add.u32 %r1, %r1, 1000;
THERE:
    @%p2 add.u32 %r1, %r1, 10000;
    @%p3 add.u32 %r1, %r1, 100000;
    @%p0 st.global.u32 [%d0], %r1;
    @!%p1 st.global.u32 [%d0], %r1;
    ret;
        ",
        &[[48, 1, 1], [64, 1, 1]],
    );
}

#[test]
fn bits_chosen_by_a_constant_are_those_of_the_right_operand_where_some_lanes_write_them() {
    agree(
        "
    .reg .b32 %r<4>;
    .reg .b64 %d<3>;
    .reg .pred %p;
    ld.param.u64 %d0, [pin];
    ld.param.u64 %d2, [pout];
    mov.u32 %r0, %tid.x;
    mul.wide.u32 %d1, %r0, 4;
    add.s64 %d0, %d0, %d1;
    add.s64 %d2, %d2, %d1;
    ld.global.u32 %r1, [%d0+4];
    ld.global.u32 %r2, [%d0+8];
    and.b32 %r3, %r0, 2;
    setp.eq.u32 %p, %r3, 2;
    shfl.sync.idx.b32 %r2, %r2, %r0, 31, -1;
    @%p copysign.f32 %r1, %r1, %r2;
    st.global.u32 [%d2], %r1;
    ret;
        ",
        &[[32, 1, 1], [64, 1, 1]],
    );
}
