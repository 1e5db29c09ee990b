//! Which member of a fat binary the software GPU takes.

use std::borrow::Cow;

use vgpu_images::fatbin::{members, Damaged, Kind, Member};

/// No PTX is larger; a claim beyond it is not believed, bytes.
const TEXT_MAX: usize = 1 << 30;

/// Why there is no PTX to take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FatbinError {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("the fat binary holds no PTX for {0}")]
    NoPtx(String),
}

/// The PTX with the highest target that a device of this capability (times ten) can run.
pub(super) fn best_ptx(container: &[u8], capability: u32) -> Result<Cow<'_, [u8]>, FatbinError> {
    let members = members(container)?;
    let usable = members.iter().filter(|member| member.kind() == Kind::Ptx && member.sm() <= capability);
    match usable.max_by_key(|member| member.sm()) {
        Some(member) => Ok(member.bytes(TEXT_MAX)?),
        None => Err(FatbinError::NoPtx(describe(&members, capability))),
    }
}

fn describe(members: &[Member<'_>], capability: u32) -> String {
    let found: Vec<String> = members
        .iter()
        .map(|member| match member.kind() {
            Kind::Ptx => format!("PTX for sm_{}", member.sm()),
            Kind::Cubin => format!("machine code for sm_{}", member.sm()),
            Kind::Other(kind) => format!("an entry of kind {kind}"),
        })
        .collect();
    let found = if found.is_empty() { "nothing".to_string() } else { found.join(", ") };
    let lowest = members.iter().filter(|member| member.kind() == Kind::Ptx).map(Member::sm).min();
    let advice = lowest
        .map(|sm| format!(", which the software GPU takes with `--compute-capability {}.{}`", sm / 10, sm % 10))
        .unwrap_or_default();
    format!("compute capability {}.{} or lower, but {found}{advice}", capability / 10, capability % 10)
}
