//! Names of special registers.

use crate::ir::SpecialReg;

/// The special register `name` (with its `%`), of component `component` if it is
/// a vector.
pub(super) fn special_reg(name: &[u8], component: Option<u8>) -> Option<SpecialReg> {
    use SpecialReg::*;
    if let Some(component) = component {
        let xyz = match name {
            b"%tid" => [TidX, TidY, TidZ],
            b"%ntid" => [NtidX, NtidY, NtidZ],
            b"%ctaid" => [CtaidX, CtaidY, CtaidZ],
            b"%nctaid" => [NctaidX, NctaidY, NctaidZ],
            b"%clusterid" => [ClusterIdX, ClusterIdY, ClusterIdZ],
            b"%nclusterid" => [NClusterIdX, NClusterIdY, NClusterIdZ],
            b"%cluster_ctaid" => [ClusterCtaidX, ClusterCtaidY, ClusterCtaidZ],
            b"%cluster_nctaid" => [ClusterNctaidX, ClusterNctaidY, ClusterNctaidZ],
            _ => return None,
        };
        return xyz.get(component as usize).copied();
    }
    Some(match name {
        b"%laneid" => LaneId,
        b"%warpid" => WarpId,
        b"%nwarpid" => NWarpId,
        b"WARP_SZ" => WarpSize,
        b"%smid" => SmId,
        b"%nsmid" => NSmId,
        b"%gridid" => GridId,
        b"%lanemask_eq" => LanemaskEq,
        b"%lanemask_le" => LanemaskLe,
        b"%lanemask_lt" => LanemaskLt,
        b"%lanemask_ge" => LanemaskGe,
        b"%lanemask_gt" => LanemaskGt,
        b"%clock" => Clock,
        b"%clock_hi" => ClockHi,
        b"%clock64" => Clock64,
        b"%globaltimer" => GlobalTimer,
        b"%globaltimer_lo" => GlobalTimerLo,
        b"%globaltimer_hi" => GlobalTimerHi,
        b"%dynamic_smem_size" => DynamicSmemSize,
        b"%total_smem_size" | b"%aggr_smem_size" => TotalSmemSize,
        b"%cluster_ctarank" => ClusterCtarank,
        b"%cluster_nctarank" => ClusterNctarank,
        b"%is_explicit_cluster" => IsExplicitCluster,
        _ => return numbered(name),
    })
}

/// `%envreg<n>`, `%pm<n>` and `%pm<n>_64`.
fn numbered(name: &[u8]) -> Option<SpecialReg> {
    let name = name.strip_suffix(b"_64").filter(|name| name.starts_with(b"%pm")).unwrap_or(name);
    let index = |prefix: &[u8], limit: u8| {
        let digits = std::str::from_utf8(name.strip_prefix(prefix)?).ok()?;
        digits.parse::<u8>().ok().filter(|&index| index < limit)
    };
    let env = index(b"%envreg", 32).map(SpecialReg::EnvReg);
    env.or_else(|| index(b"%pm", 8).map(SpecialReg::Pm))
}
