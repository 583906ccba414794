//! AMX: eight tile registers of 16 rows of 64 bytes, and their products of bytes.

use raw_cpuid::CpuId;
use std::arch::asm;
use std::marker::PhantomData;

/// Proof that the CPU has AMX-TILE and AMX-INT8, and that the system lets this process use them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Amx(());

impl Amx {
    /// Asks the system, which keeps the eight KiB of these registers from a process that has not asked.
    pub(super) fn detect() -> Option<Self> {
        let features = CpuId::new().get_extended_feature_info()?;
        (features.has_amx_tile() && features.has_amx_int8() && permitted()).then_some(Self(()))
    }

    /// Shapes this thread's tile registers until the value is dropped, which takes some 100 ns: once a task, not once a tile.
    #[inline(always)]
    pub(crate) fn shape_tiles(self) -> ShapedTiles {
        // SAFETY: `self` proves AMX; the instruction reads the 64 bytes of the constant.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &SHAPES, options(readonly, nostack, preserves_flags)) };
        ShapedTiles(PhantomData)
    }
}

/// The tile registers of this thread, shaped as 16 rows of 64 bytes: the licence to use them.
pub(crate) struct ShapedTiles(PhantomData<*const ()>);

impl Drop for ShapedTiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: there are tiles, so there is AMX. What is empty the system need not keep when it takes the CPU away.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// What LDTILECFG reads: the palette, bytes a row of each of 16 registers, of which there are eight, and rows of each.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

const SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Whether this process may use the data of tiles, which it asks for.
fn permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILE_DATA: libc::c_long = 18;
        // SAFETY: the call takes no pointers; kernels that know no such request refuse it.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}
