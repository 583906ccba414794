//! The methods of [`super::Simd`] that are one instruction in every ISA, given that instruction's intrinsic.

/// For a register `V`: `register!(V: splat = ..., load = ..., store = ..., a binary operation = ..., ...)`.
///
/// The type that the methods are for proves that the CPU has the intrinsics' instructions.
macro_rules! register {
    ($v:ty: splat = $splat:ident, load = $load:ident, store = $store:ident, $($operation:ident = $intrinsic:ident),+) => {
        type V = $v;
        const LANES: usize = size_of::<$v>() / size_of::<f32>();

        #[inline(always)]
        fn splat(self, x: f32) -> $v {
            // SAFETY: `self` proves the instructions.
            unsafe { $splat(x) }
        }
        #[inline(always)]
        fn load(self, x: &[f32]) -> $v {
            assert!(x.len() >= Self::LANES);
            // SAFETY: `self` proves the instructions, and `x` is long enough.
            unsafe { $load(x.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, v: $v, out: &mut [f32]) {
            assert!(out.len() >= Self::LANES);
            // SAFETY: `self` proves the instructions, and `out` is long enough.
            unsafe { $store(out.as_mut_ptr(), v) }
        }
        #[inline(always)]
        unsafe fn load_ptr(self, p: *const f32) -> $v {
            // SAFETY: `self` proves the instructions; the caller's promise covers what is read.
            unsafe { $load(p) }
        }
        #[inline(always)]
        unsafe fn store_ptr(self, v: $v, p: *mut f32) {
            // SAFETY: `self` proves the instructions; the caller's promise covers what is written.
            unsafe { $store(p, v) }
        }
        $(
            #[inline(always)]
            fn $operation(self, a: $v, b: $v) -> $v {
                // SAFETY: `self` proves the instructions.
                unsafe { $intrinsic(a, b) }
            }
        )+
    };
}

/// Prefetches, which are SSE's and so part of every x86-64 CPU.
#[cfg(target_arch = "x86_64")]
macro_rules! prefetch {
    () => {
        #[inline(always)]
        fn prefetch(self, p: *const f32) {
            // SAFETY: part of x86-64; any address may be asked for.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        fn prefetch_l2(self, p: *const f32) {
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    };
}
