//! A row-major matrix handed out to tasks as disjoint blocks.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

/// A mutable `rows` x `columns` matrix cut into blocks of `row_block` x `column_block`, each of which one task may
/// take.
pub(crate) struct Blocks<'a, T = f32> {
    data: *mut T,
    rows: usize,
    columns: usize,
    row_block: usize,
    column_block: usize,
    taken: Vec<AtomicBool>,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer stands for a unique borrow of the matrix; `take` gives each part of it to one caller only.
unsafe impl<T: Send> Sync for Blocks<'_, T> {}
// SAFETY: the pointer stands for a unique borrow of the matrix, whose values may be written from any thread.
unsafe impl<T: Send> Send for Blocks<'_, T> {}

impl<'a, T> Blocks<'a, T> {
    /// Cuts up `data`, which holds at least `rows * columns` values.
    pub(crate) fn new(data: &'a mut [T], rows: usize, columns: usize, row_block: usize, column_block: usize) -> Self {
        let values = rows.checked_mul(columns).expect("a matrix's size overflows usize");
        assert!(data.len() >= values && row_block > 0 && (column_block > 0 || columns == 0));
        let blocks = rows.div_ceil(row_block) * columns.div_ceil(column_block.max(1));
        Self {
            data: data.as_mut_ptr(),
            rows,
            columns,
            row_block,
            column_block,
            taken: (0..blocks).map(|_| AtomicBool::new(false)).collect(),
            borrow: PhantomData,
        }
    }

    /// Where a value of block (`i`, `j`) stands, to be fetched and not read: past the block's end it may be any address.
    #[inline(always)]
    pub(crate) fn place(&self, i: usize, j: usize, row: usize, column: usize) -> *const T {
        let (row, column) = (i * self.row_block + row, j * self.column_block + column);
        self.data.wrapping_add(row * self.columns + column)
    }

    /// Block row `i`, block column `j`. Panics when it was taken before or is not there.
    #[inline(always)]
    pub(crate) fn take(&self, i: usize, j: usize) -> Block<'_, T> {
        let (row, column) = (i * self.row_block, j * self.column_block);
        assert!(row < self.rows && column < self.columns, "block ({i}, {j}) lies outside the matrix");
        let index = i * self.columns.div_ceil(self.column_block) + j;
        assert!(!self.taken[index].swap(true, Ordering::Relaxed), "block ({i}, {j}) was taken before");
        Block {
            // SAFETY: `row < rows` and `column < columns`, so the offset lies inside the matrix.
            data: unsafe { self.data.add(row * self.columns + column) },
            rows: self.row_block.min(self.rows - row),
            columns: self.column_block.min(self.columns - column),
            stride: self.columns,
            borrow: PhantomData,
        }
    }
}

/// One block: exclusive access to its rows' pieces.
pub(crate) struct Block<'a, T = f32> {
    data: *mut T,
    rows: usize,
    columns: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [T]>,
}

impl<T> Block<'_, T> {
    /// This block's piece of its row `r`.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, r: usize) -> &mut [T] {
        assert!(r < self.rows);
        // SAFETY: row `r` and `columns` lie inside the matrix (`Blocks::take`), no other block covers this piece
        // (each block is taken once), and `&mut self` keeps pieces of this block apart.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(r * self.stride), self.columns) }
    }
}
