//! Plain Rust, 4 lanes as an array, for every target without an ISA of its own, and for Miri.

use super::Simd;
use std::array::from_fn;

/// No instructions to prove.
#[derive(Clone, Copy)]
pub struct Portable;

type V = [f32; 4];

impl Simd for Portable {
    type V = V;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; 4]
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> V {
        from_fn(|i| x[i])
    }
    #[inline(always)]
    fn store(self, v: V, out: &mut [f32]) {
        out[..4].copy_from_slice(&v);
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn select_lt(self, a: V, b: V, x: V, y: V) -> V {
        from_fn(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn mul_pow2(self, p: V, t: V) -> V {
        from_fn(|i| f32::from_bits(p[i].to_bits().wrapping_add(t[i].to_bits() << 23)))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> V {
        // SAFETY: the caller promises four values; an array of f32 has f32's alignment.
        unsafe { p.cast::<V>().read() }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> V {
        // SAFETY: the caller promises four values; an array of u16 has u16's alignment.
        let halves = unsafe { p.cast::<[u16; 4]>().read() };
        halves.map(|half| f32::from_bits(u32::from(half) << 16))
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: V, p: *mut f32) {
        // SAFETY: the caller promises room for four values; an array of f32 has f32's alignment.
        unsafe { p.cast::<V>().write(v) }
    }
}
