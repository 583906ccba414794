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
            // SAFETY: `self` proves the instructions; the caller promises `LANES` values to read.
            unsafe { $load(p) }
        }
        #[inline(always)]
        unsafe fn store_ptr(self, v: $v, p: *mut f32) {
            // SAFETY: `self` proves the instructions; the caller promises room for `LANES` values.
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

/// Those of them that see the register as words, given the intrinsics: `words!(I of V: splat = ..., words = ..., floats = ...)`.
macro_rules! words {
    ($i:ty, of $v:ty: splat = $splat:ident, words = $words:ident, floats = $floats:ident) => {
        type I = $i;

        #[inline(always)]
        fn words(self, x: $v) -> $i {
            // SAFETY: `self` proves the instructions.
            unsafe { $words(x) }
        }
        #[inline(always)]
        fn floats(self, x: $i) -> $v {
            // SAFETY: `self` proves the instructions.
            unsafe { $floats(x) }
        }
        #[inline(always)]
        fn splat_word(self, x: i32) -> $i {
            // SAFETY: `self` proves the instructions.
            unsafe { $splat(x) }
        }
    };
}

/// Runs a [`super::Routine`] in a function with these features, which the caller promises.
#[cfg(target_arch = "x86_64")]
macro_rules! with_features {
    ($features:literal, $s:expr, $routine:expr) => {{
        #[target_feature(enable = $features)]
        #[inline(never)]
        fn run<S, R: Routine<S>>(s: S, routine: R) -> R::Output {
            routine.run(s)
        }
        run($s, $routine)
    }};
}

/// The methods that are SSE's on every x86 ISA, and so part of every x86-64 CPU: prefetches and the 4 x 4 transposition.
#[cfg(target_arch = "x86_64")]
macro_rules! sse {
    () => {
        #[inline(always)]
        fn prefetch(self, p: *const u8) {
            // SAFETY: part of x86-64; any address may be asked for.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        fn prefetch_l2(self, p: *const u8) {
            // SAFETY: part of x86-64; any address may be asked for.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
        #[inline(always)]
        fn transpose_4x4(self, rows: &[f32], stride: usize, out: &mut [f32], width: usize) {
            assert!(
                rows.len() >= 3 * stride + 4 && out.len() >= 3 * width + 4,
                "four rows and columns do not lie within"
            );
            let (rows, out) = (rows.as_ptr(), out.as_mut_ptr());
            // SAFETY: four values from each of four rows, in and out, lie within the slices, as asserted; SSE is part
            // of x86-64.
            unsafe {
                let (mut a, mut b) = (_mm_loadu_ps(rows), _mm_loadu_ps(rows.add(stride)));
                let (mut c, mut d) = (_mm_loadu_ps(rows.add(2 * stride)), _mm_loadu_ps(rows.add(3 * stride)));
                _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                _mm_storeu_ps(out, a);
                _mm_storeu_ps(out.add(width), b);
                _mm_storeu_ps(out.add(2 * width), c);
                _mm_storeu_ps(out.add(3 * width), d);
            }
        }
    };
}
