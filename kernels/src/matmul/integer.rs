//! The product of integers: [`super::Multiply`]'s tasks with tiles of blocks.
//!
//! Where this CPU multiplies no bytes, those of a stretch of a panel are widened to i16 in the task's scratch memory, once
//! for all of its row tiles; the integers, and with them the sums, are the same.

use super::quantize::{Scheme, Side};
use super::storage::Storage;
use super::weights::Weights;
use super::{GAP, Multiply};
use crate::buffer::values;
use crate::dispatch::Arch;
use crate::isa::Simd;
use crate::pool::Job;
use crate::tile::NR;
use crate::tile::integer::{IntegerArgs, header};
use crate::tile::multiplier::Multiplier;

/// Depth of a stretch: as many rows of a panel meet all row tiles before the next do, and are read from L2 meanwhile.
const STRETCH: usize = 1024;

/// 32-bit values of scratch memory that a task needs besides its block of the output, for a stretch of i16.
pub(super) fn widened(scheme: Scheme, weights: &Weights) -> usize {
    if widens(scheme, weights) { scheme.len(STRETCH.min(weights.k()), Side::right(false)) } else { 0 }
}

/// Whether the weights' words are of more values than those that are multiplied.
fn widens(scheme: Scheme, weights: &Weights) -> bool {
    weights.storage() == Storage::I8 && scheme.values == 2
}

pub(super) struct MultiplyIntegers<'a> {
    pub multiply: Multiply<'a>,
    pub scheme: Scheme,
}

impl Job for MultiplyIntegers<'_> {
    #[inline(always)]
    fn run<S: Arch>(&self, s: S, task: usize, scratch: &mut [f32]) {
        let Self { scheme, ref multiply, .. } = *self;
        let Multiply { lhs, weights, .. } = multiply;
        let mut multiplier = Multiplier::new(s, scheme.by_rows);
        let (mr, at_once, k, bytes) = (lhs.mr(), multiplier.rows::<S>(), lhs.k(), scheme.values == 4);
        let (i, j, rows, panels) = multiply.task(task);
        let stride = panels.len() * NR + GAP;
        let (c, widened) = scratch.split_at_mut(rows.len() * stride);
        if k == 0 {
            c.fill(0.0);
        }
        let widens = widens(scheme, weights);
        // Whole blocks in stretches, then what is left of the depth.
        let whole = k - k % scheme.block;
        let stretches =
            (0..whole).step_by(STRETCH).map(|p| p..whole.min(p + STRETCH)).chain((whole < k).then_some(whole..k));
        for depth in stretches {
            let (blocks, words) = (depth.len().div_ceil(scheme.block), scheme.words(depth.len().min(scheme.block)));
            // Up to the end of the last of the row tiles that are multiplied at once, or of all.
            let part = |row: usize| {
                let tiles = at_once.min(rows.end - row).div_ceil(mr);
                let end = (tiles - 1) * lhs.tile_len() + scheme.len(depth.end, Side::left(mr));
                &lhs.tiles(row / mr)[scheme.len(depth.start, Side::left(mr))..end]
            };
            for panel in panels.clone() {
                let stretch = |panel| values::<f32>(weights.stretch(panel, depth.start, depth.len()));
                let mut b = stretch(panel);
                let ahead = if panel + 1 < panels.end { stretch(panel + 1) } else { &[] };
                if widens {
                    let widened = &mut widened[..blocks * (header(false) + words * NR)];
                    let stored = b.len() / blocks;
                    for (from, to) in b.chunks_exact(stored).zip(widened.chunks_exact_mut(widened.len() / blocks)) {
                        widen(s, from, to);
                    }
                    b = widened;
                }
                let mut ahead = ahead.chunks(ahead.len().div_ceil(rows.len().div_ceil(at_once)).max(1));
                for row in rows.clone().step_by(at_once) {
                    if depth.end == k {
                        let tile = row - rows.start..rows.end.min(row + at_once) - rows.start;
                        multiply.epilogue.fetch(s, i, j, tile, (panel - panels.start) * NR);
                    }
                    let args = IntegerArgs {
                        rows: at_once.min(rows.end - row),
                        blocks,
                        words,
                        bytes,
                        a: part(row),
                        a_stride: lhs.tile_len(),
                        b,
                        c: &mut c[(row - rows.start) * stride + (panel - panels.start) * NR..],
                        c_stride: stride,
                        add: depth.start > 0,
                        ahead: ahead.next().unwrap_or_default(),
                    };
                    multiplier.tile(s, args);
                }
            }
        }
        multiply.epilogue.finish(s, i, j, c, stride);
    }
}

/// A block of a panel of i8 as one of i16: the scales, then bytes 0 and 2 of all its words, then bytes 1 and 3.
#[inline(always)]
fn widen<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    let (scales, from) = (&from[..NR], &from[header(true)..]);
    let (to_scales, to) = to.split_at_mut(header(false));
    to_scales.copy_from_slice(scales);
    let (even, odd) = to.split_at_mut(from.len());
    for ((from, even), odd) in
        from.chunks_exact(S::LANES).zip(even.chunks_exact_mut(S::LANES)).zip(odd.chunks_exact_mut(S::LANES))
    {
        let [x, y] = s.widen_i8(s.words(s.load(from)));
        s.store(s.floats(x), even);
        s.store(s.floats(y), odd);
    }
}
