//! Which registers multiply a task's integers: those of vectors ([`integer`]) or AMX's tiles.

#[cfg(target_arch = "x86_64")]
use super::amx::AmxTile;
use super::integer::{self, IntegerArgs, IntegerTile};
#[cfg(target_arch = "x86_64")]
use crate::isa::ByteProduct;

/// How a task multiplies integers: by vector registers or, bytes that stand row after row, by AMX's tile registers.
pub struct Multiplier {
    #[cfg(target_arch = "x86_64")]
    amx: Option<AmxTile>,
}

impl Multiplier {
    /// Of `s`, for words that stand row after row with `by_rows`.
    #[inline(always)]
    pub fn new<S: IntegerTile>(s: S, by_rows: bool) -> Self {
        match (by_rows, s.bytes()) {
            #[cfg(target_arch = "x86_64")]
            (true, Some(ByteProduct::Tiles(amx))) => Self { amx: Some(AmxTile::new(amx)) },
            (true, _) => panic!("this CPU multiplies no rows of bytes"),
            (false, _) => Self {
                #[cfg(target_arch = "x86_64")]
                amx: None,
            },
        }
    }

    /// The most rows of a tile: those of one row tile of the left operand or of several.
    #[inline(always)]
    pub fn rows<S: IntegerTile>(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.amx.is_some() {
            return AmxTile::ROWS;
        }
        S::MR
    }

    /// Computes one tile.
    #[inline(always)]
    pub fn tile<S: IntegerTile>(&mut self, s: S, args: IntegerArgs) {
        #[cfg(target_arch = "x86_64")]
        if let Some(amx) = &mut self.amx {
            return amx.tile(s, args);
        }
        integer::tile(s, args);
    }
}
