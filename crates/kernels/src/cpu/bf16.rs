//! What the processor has for products of bf16.

use super::Isa;

/// Instructions that multiply bf16 and add in single precision, from slower to faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bf16Unit {
    /// AVX-512 BF16: the dot product of pairs, in vectors.
    Vectors,
    /// AMX: products of tiles of sixteen rows.
    Tiles,
}

impl Bf16Unit {
    /// Both, from slower to faster.
    pub const ALL: [Bf16Unit; 2] = [Bf16Unit::Vectors, Bf16Unit::Tiles];

    /// The fastest that goes with `isa`; `None` where there is none.
    pub fn detect(isa: Isa) -> Option<Bf16Unit> {
        Bf16Unit::available(isa).last()
    }

    /// Those that go with `isa` on this machine: all of them belong to AVX-512.
    pub fn available(isa: Isa) -> impl Iterator<Item = Bf16Unit> {
        Bf16Unit::ALL.into_iter().filter(move |unit| isa >= Isa::Avx512 && unit.is_available())
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Bf16Unit::Vectors => "avx512_bf16",
            Bf16Unit::Tiles => "amx_bf16",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let has_vectors = Isa::detect() >= Isa::Avx512 && is_x86_feature_detected!("avx512bf16");
        match self {
            Bf16Unit::Vectors => has_vectors,
            Bf16Unit::Tiles => has_vectors && tiles::are_available(),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        false
    }
}

impl std::fmt::Display for Bf16Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// AMX: its state is large, so that Linux wants to be asked before the first use.
#[cfg(target_arch = "x86_64")]
mod tiles {
    use std::arch::x86_64::__cpuid_count;
    use std::sync::OnceLock;

    pub(super) fn are_available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
    }

    /// AMX-TILE and AMX-BF16 (Intel SDM, CPUID leaf 7).
    fn has_instructions() -> bool {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        let leaves = __cpuid_count(0, 0).eax;
        let features = if leaves < 7 { 0 } else { __cpuid_count(7, 0).edx };
        features & AMX_BF16 != 0 && features & AMX_TILE != 0
    }

    /// Asks for the tiles' state, for all threads of the process (Linux 5.16, Documentation/arch/x86/xstate.rst).
    #[cfg(target_os = "linux")]
    fn is_permitted() -> bool {
        use std::ffi::c_long;
        const SYS_ARCH_PRCTL: c_long = 158;
        const ARCH_REQ_XCOMP_PERM: c_long = 0x1023;
        const XFEATURE_XTILEDATA: c_long = 18;
        // The C library, which the standard library links in any case.
        unsafe extern "C" {
            fn syscall(number: c_long, ...) -> c_long;
        }
        // SAFETY: the call has no effect on memory; a system that does not know it says so.
        unsafe { syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }

    /// Other systems' ways to ask are not implemented: there, vectors are used.
    #[cfg(not(target_os = "linux"))]
    fn is_permitted() -> bool {
        false
    }
}
