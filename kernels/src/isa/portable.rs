//! Plain Rust, 4 lanes as an array, for every target without an ISA of its own, and for Miri.

use super::Simd;
use std::array::from_fn;

/// No instructions to prove.
#[derive(Clone, Copy)]
pub struct Portable;

type V = [f32; 4];
type I = [i32; 4];

/// The two i16 of a word.
fn halves(x: i32) -> [i32; 2] {
    [i32::from(x as i16), x >> 16]
}

impl Simd for Portable {
    type V = V;
    type I = I;
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
    unsafe fn load_bf16(self, p: *const u16) -> [V; 2] {
        // SAFETY: the caller promises eight values; an array of u16 has u16's alignment.
        let halves = unsafe { p.cast::<[[u16; 4]; 2]>().read() };
        halves.map(|halves| halves.map(|half| f32::from_bits(u32::from(half) << 16)))
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: V, p: *mut f32) {
        // SAFETY: the caller promises room for four values; an array of f32 has f32's alignment.
        unsafe { p.cast::<V>().write(v) }
    }
    #[inline(always)]
    fn splat_word(self, x: i32) -> I {
        [x; 4]
    }
    #[inline(always)]
    fn dot_i16(self, a: I, b: I, c: I) -> I {
        from_fn(|i| {
            let ([a, x], [b, y]) = (halves(a[i]), halves(b[i]));
            c[i].wrapping_add(a * b).wrapping_add(x * y)
        })
    }
    #[inline(always)]
    fn widen_i8(self, x: I) -> [I; 2] {
        let bytes = |x: i32, at: usize| i32::from(x.to_le_bytes()[at] as i8);
        [0, 1].map(|at| from_fn(|i| bytes(x[i], at) & 0xffff | bytes(x[i], at + 2) << 16))
    }
    #[inline(always)]
    fn to_f32(self, x: I) -> V {
        x.map(|x| x as f32)
    }
    #[inline(always)]
    fn words(self, x: V) -> I {
        x.map(|x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn floats(self, x: I) -> V {
        x.map(|x| f32::from_bits(x as u32))
    }
}
