//! Attributes of streams and launches, and operations on memory in stream order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of a stream's or a launch's attribute; the attribute says which of the union's members it is.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUlaunchAttributeValue {
    pub bytes: [u8; 64],
}

impl CUlaunchAttributeValue {
    /// A value that starts with these words.
    pub fn of_words(words: &[u32]) -> Self {
        let mut value = CUlaunchAttributeValue { bytes: [0; 64] };
        for (place, word) in value.bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        value
    }

    /// The word of this number; 0 behind the end.
    pub fn word(&self, index: usize) -> u32 {
        let word = self.bytes.chunks_exact(4).nth(index).and_then(|word| word.first_chunk());
        word.map_or(0, |word| u32::from_ne_bytes(*word))
    }
}

/// What a launch attribute is (`CUlaunchAttributeID`).
#[allow(missing_docs)]
pub mod launch_attribute {
    pub const IGNORE: u32 = 0;
    pub const ACCESS_POLICY_WINDOW: u32 = 1;
    pub const COOPERATIVE: u32 = 2;
    pub const SYNCHRONIZATION_POLICY: u32 = 3;
    pub const CLUSTER_DIMENSION: u32 = 4;
    pub const CLUSTER_SCHEDULING_POLICY_PREFERENCE: u32 = 5;
    pub const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
    pub const PROGRAMMATIC_EVENT: u32 = 7;
    pub const PRIORITY: u32 = 8;
    pub const MEM_SYNC_DOMAIN_MAP: u32 = 9;
    pub const MEM_SYNC_DOMAIN: u32 = 10;
    pub const PREFERRED_CLUSTER_DIMENSION: u32 = 11;
    pub const LAUNCH_COMPLETION_EVENT: u32 = 12;
    pub const DEVICE_UPDATABLE_KERNEL_NODE: u32 = 13;
    pub const PREFERRED_SHARED_MEMORY_CARVEOUT: u32 = 14;
    pub const NVLINK_UTIL_CENTRIC_SCHEDULING: u32 = 16;
    pub const PORTABLE_CLUSTER_SIZE_MODE: u32 = 17;
    pub const SHARED_MEMORY_MODE: u32 = 18;
}

/// The attributes of a stream. None changes what a stream's work computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAttributes {
    /// L2 cache window: {base, bytes, hit ratio, properties}.
    pub window: CUlaunchAttributeValue,
    /// How threads wait (`CUsynchronizationPolicy`).
    pub policy: u32,
    /// Priority: smaller is higher.
    pub priority: i32,
    /// Domains of the default and the remote memory synchronisation domain.
    pub domains: [u8; 2],
    /// Memory synchronisation domain.
    pub domain: u32,
}

impl StreamAttributes {
    /// What a new stream of this priority has.
    pub fn new(priority: i32) -> Self {
        let window = CUlaunchAttributeValue { bytes: [0; 64] };
        StreamAttributes { window, policy: 1, priority, domains: [0, 1], domain: 0 }
    }

    /// An attribute's value; `None` for one that streams do not have.
    pub fn get(&self, attribute: u32) -> Option<CUlaunchAttributeValue> {
        use launch_attribute as id;
        let [default, remote] = self.domains;
        Some(match attribute {
            id::ACCESS_POLICY_WINDOW => self.window,
            id::SYNCHRONIZATION_POLICY => CUlaunchAttributeValue::of_words(&[self.policy]),
            id::PRIORITY => CUlaunchAttributeValue::of_words(&[self.priority.cast_unsigned()]),
            id::MEM_SYNC_DOMAIN_MAP => CUlaunchAttributeValue::of_words(&[u32::from_ne_bytes([default, remote, 0, 0])]),
            id::MEM_SYNC_DOMAIN => CUlaunchAttributeValue::of_words(&[self.domain]),
            _ => return None,
        })
    }

    /// Sets an attribute; `None` for one that streams do not have or a value that it cannot have.
    /// Priorities are moved into `priorities`; `domains`: how many memory synchronisation domains there are.
    pub fn set(
        &mut self,
        attribute: u32,
        value: &CUlaunchAttributeValue,
        priorities: std::ops::RangeInclusive<i32>,
        domains: i32,
    ) -> Option<()> {
        use launch_attribute as id;
        match (attribute, value.word(0)) {
            (id::ACCESS_POLICY_WINDOW, _) => self.window = *value,
            (id::SYNCHRONIZATION_POLICY, policy @ 1..=4) => self.policy = policy,
            (id::PRIORITY, priority) => {
                self.priority = priority.cast_signed().clamp(*priorities.start(), *priorities.end());
            }
            (id::MEM_SYNC_DOMAIN_MAP, map) => {
                let [default, remote, ..] = map.to_ne_bytes();
                if i32::from(default.max(remote)) > domains.max(2) - 1 {
                    return None;
                }
                self.domains = [default, remote];
            }
            (id::MEM_SYNC_DOMAIN, domain @ 0..=1) => self.domain = domain,
            _ => return None,
        }
        Some(())
    }
}

/// One operation of `cuStreamBatchMemOp`: a union whose first word is the operation.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUstreamBatchMemOpParams {
    pub words: [u64; 6],
}

/// `CU_STREAM_MEM_OP_*`.
#[allow(missing_docs)]
pub mod mem_op {
    pub const WAIT_VALUE_32: u32 = 1;
    pub const WRITE_VALUE_32: u32 = 2;
    pub const FLUSH_REMOTE_WRITES: u32 = 3;
    pub const WAIT_VALUE_64: u32 = 4;
    pub const WRITE_VALUE_64: u32 = 5;
    pub const BARRIER: u32 = 6;
    pub const ATOMIC_REDUCTION: u32 = 8;
    /// `CU_STREAM_WAIT_VALUE_FLUSH`.
    pub const FLUSH: u32 = 1 << 30;
}

/// An operation on memory in stream order, as far as drivers here have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemOp {
    /// The stream goes on once the condition holds for the value at the address.
    Wait {
        /// Whether the value has 64 bits.
        wide: bool,
        /// Where it is.
        address: u64,
        /// What it is compared with.
        value: u64,
        /// How.
        condition: WaitCondition,
    },
    /// Writes a value.
    Write {
        /// Whether the value has 64 bits.
        wide: bool,
        /// Where to.
        address: u64,
        /// What.
        value: u64,
    },
    /// A memory barrier.
    Barrier,
}

/// When a wait ends (`CUstreamWaitValue_flags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCondition {
    /// Cyclically greater than the value, or equal.
    Geq,
    /// Equal.
    Eq,
    /// Has one of the value's bits.
    And,
    /// Some bit is set in neither.
    Nor,
}

impl WaitCondition {
    /// Whether it holds for what memory contains now.
    pub fn holds(self, wide: bool, memory: u64, value: u64) -> bool {
        match self {
            WaitCondition::Geq if wide => memory.wrapping_sub(value).cast_signed() >= 0,
            WaitCondition::Geq => (memory as u32).wrapping_sub(value as u32).cast_signed() >= 0,
            WaitCondition::Eq => memory == value,
            WaitCondition::And => memory & value != 0,
            WaitCondition::Nor if wide => !(memory | value) != 0,
            WaitCondition::Nor => !((memory | value) as u32) != 0,
        }
    }
}

/// Why an operation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMemOp {
    /// It is no operation.
    Invalid,
    /// It is one that needs hardware that nobody has here.
    Unsupported,
}

impl CUstreamBatchMemOpParams {
    /// A wait or a write.
    pub fn new(operation: u32, address: u64, value: u64, flags: u32) -> Self {
        CUstreamBatchMemOpParams { words: [operation.into(), address, value, flags.into(), 0, 0] }
    }

    /// Whether an executable graph's node can do the other instead: the same with another address, value or
    /// condition.
    pub fn can_become(&self, other: &Self) -> bool {
        let [operation, _, _, flags, ..] = self.words;
        let is = |known: u32| operation as u32 == known;
        let waits = is(mem_op::WAIT_VALUE_32) || is(mem_op::WAIT_VALUE_64);
        let free = if waits { 3 } else { 0 };
        let writes = is(mem_op::WRITE_VALUE_32) || is(mem_op::WRITE_VALUE_64);
        match waits || writes {
            true => other.words[0] as u32 == operation as u32 && (other.words[3] ^ flags) as u32 & !free == 0,
            false => self == other,
        }
    }

    /// What it asks for, if its fields are in order.
    pub fn parse(&self) -> Result<MemOp, BadMemOp> {
        let [operation, address, value, flags, ..] = self.words;
        let (operation, flags) = (operation as u32, flags as u32);
        let wide = matches!(operation, mem_op::WAIT_VALUE_64 | mem_op::WRITE_VALUE_64);
        let value = if wide { value } else { u64::from(value as u32) };
        let misaligned = !address.is_multiple_of(if wide { 8 } else { 4 });
        match operation {
            mem_op::WAIT_VALUE_32 | mem_op::WAIT_VALUE_64 => {
                let condition = match flags & !mem_op::FLUSH {
                    0 => WaitCondition::Geq,
                    1 => WaitCondition::Eq,
                    2 => WaitCondition::And,
                    3 => WaitCondition::Nor,
                    _ => return Err(BadMemOp::Invalid),
                };
                match (misaligned, flags & mem_op::FLUSH) {
                    (true, _) => Err(BadMemOp::Invalid),
                    (false, 0) => Ok(MemOp::Wait { wide, address, value, condition }),
                    _ => Err(BadMemOp::Unsupported),
                }
            }
            mem_op::WRITE_VALUE_32 | mem_op::WRITE_VALUE_64 if flags <= 1 && !misaligned => {
                Ok(MemOp::Write { wide, address, value })
            }
            // The flags are in the operation's upper half.
            mem_op::BARRIER if self.words[0] >> 32 <= 1 => Ok(MemOp::Barrier),
            mem_op::FLUSH_REMOTE_WRITES | mem_op::ATOMIC_REDUCTION => Err(BadMemOp::Unsupported),
            _ => Err(BadMemOp::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_wait_conditions() {
        use WaitCondition::{And, Eq, Geq, Nor};
        assert!(Geq.holds(false, 5, 5) && Geq.holds(false, 2, u32::MAX.into()) && !Geq.holds(false, 4, 5));
        assert!(Geq.holds(true, 2, u64::MAX) && !Geq.holds(true, 2, u32::MAX.into()));
        assert!(Eq.holds(false, 7, 7) && !Eq.holds(false, 7, 8));
        assert!(And.holds(false, 6, 2) && !And.holds(false, 6, 1));
        assert!(Nor.holds(false, 1, 2) && !Nor.holds(false, 0xffff_0000, 0xffff));
        assert!(Nor.holds(true, 0xffff_0000, 0xffff) && !Nor.holds(true, u64::MAX, 0));
    }

    #[test]
    fn test_operations_are_checked() {
        let parse = |operation, address, flags| CUstreamBatchMemOpParams::new(operation, address, 1, flags).parse();
        assert!(matches!(parse(mem_op::WAIT_VALUE_32, 4, 1), Ok(MemOp::Wait { wide: false, address: 4, .. })));
        assert!(matches!(parse(mem_op::WRITE_VALUE_64, 8, 0), Ok(MemOp::Write { wide: true, .. })));
        assert_eq!(parse(mem_op::WRITE_VALUE_64, 4, 0), Err(BadMemOp::Invalid));
        assert_eq!(parse(mem_op::WAIT_VALUE_32, 2, 0), Err(BadMemOp::Invalid));
        assert_eq!(parse(mem_op::WAIT_VALUE_32, 4, 4), Err(BadMemOp::Invalid));
        assert_eq!(parse(mem_op::WAIT_VALUE_32, 4, mem_op::FLUSH), Err(BadMemOp::Unsupported));
        assert_eq!(parse(mem_op::BARRIER, 0, 0), Ok(MemOp::Barrier));
        assert_eq!(parse(7, 4, 0), Err(BadMemOp::Invalid));
        let new = CUstreamBatchMemOpParams::new;
        let (wait, write) = (new(mem_op::WAIT_VALUE_32, 4, 1, 1), new(mem_op::WRITE_VALUE_32, 4, 1, 0));
        assert!(wait.can_become(&new(mem_op::WAIT_VALUE_32, 8, 2, 3)) && !wait.can_become(&write));
        assert!(!wait.can_become(&new(mem_op::WAIT_VALUE_32, 4, 1, mem_op::FLUSH)));
        assert!(write.can_become(&new(mem_op::WRITE_VALUE_32, 8, 2, 0)));
        assert!(!write.can_become(&new(mem_op::WRITE_VALUE_32, 4, 1, 1)));
        assert!(!new(mem_op::BARRIER, 0, 0, 0).can_become(&new(mem_op::BARRIER, 0, 0, 1)));
    }

    #[test]
    fn test_stream_attributes_keep_what_is_set() {
        let mut attributes = StreamAttributes::new(-2);
        let word = |attributes: &StreamAttributes, id| attributes.get(id).map(|value| value.word(0));
        assert_eq!(word(&attributes, launch_attribute::PRIORITY), Some((-2i32).cast_unsigned()));
        assert_eq!(word(&attributes, launch_attribute::COOPERATIVE), None);
        let set = |attributes: &mut StreamAttributes, id, word| {
            attributes.set(id, &CUlaunchAttributeValue::of_words(&[word]), -5..=0, 1)
        };
        assert_eq!(set(&mut attributes, launch_attribute::PRIORITY, (-9i32).cast_unsigned()), Some(()));
        assert_eq!(attributes.priority, -5);
        assert_eq!(set(&mut attributes, launch_attribute::SYNCHRONIZATION_POLICY, 4), Some(()));
        assert_eq!(set(&mut attributes, launch_attribute::SYNCHRONIZATION_POLICY, 5), None);
        assert_eq!(set(&mut attributes, launch_attribute::MEM_SYNC_DOMAIN, 2), None);
        assert_eq!(set(&mut attributes, launch_attribute::CLUSTER_DIMENSION, 1), None);
        assert_eq!(word(&attributes, launch_attribute::SYNCHRONIZATION_POLICY), Some(4));
    }
}
