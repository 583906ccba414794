//! The form of a packed file: what its first words are, and how many of them there are.
//!
//! Invariant: files of one [`VERSION`] are read alike by whoever writes, maps or lists them. Used by `packed` and `entry`.

use ironrank_kernels::Weights;

/// Reads otherwise on a machine of the other byte order.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"irnkpack");
/// Changes with the form of the header and the table.
const FORM: u64 = 1;
/// Changes with the form, and with the layout of the panels, which the kernels decide.
pub(super) const VERSION: u64 = FORM << 32 | Weights::LAYOUT;
/// Bytes of a page; matrices start at multiples.
pub(super) const PAGE: usize = 4096;
/// Words of the header before the table: magic, version, columns of a panel, fingerprint (two), bytes of the text behind the
/// table, matrices.
pub(super) const FIXED_WORDS: usize = 7;
/// Words of a part in the table: first byte; a matrix's storage, depth and outputs, or 0 and the embedding's rows and their
/// bytes; checksum.
pub(super) const ENTRY_WORDS: usize = 5;

/// Words of the header, without its checksum, of so many matrices and so many bytes of text.
pub(super) fn header_words(matrices: usize, text: usize) -> usize {
    FIXED_WORDS + ENTRY_WORDS * (matrices + 1) + text.div_ceil(8)
}
