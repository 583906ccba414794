//! Vectors as an array that NumPy reads: a header of 128 bytes that says how many there are and how long each is, and their
//! numbers as little-endian float32.
//!
//! Invariants: the header counts no vector that is not there, for it is written behind them, each time anew; so the file
//! is an array whenever the process was killed, and what stands behind the vectors it counts is cut off by the next run.
//! Which vector belongs to which line is known by [`super::output`] alone, which owns it.

use super::sheet::{cannot_write, check_empty, locked};
use crate::error::{Error, ErrorKind, Result};
use crate::file::Locked;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER_BYTES: usize = 128;
const NUMBER_BYTES: usize = size_of::<f32>();
/// Of NumPy's format 1.0, and the length of what follows in the header.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00\x76\x00";

/// An open array.
pub(super) struct Array {
    name: String,
    file: Locked,
    /// Numbers in a vector; `None` until somebody says it, if the file does not.
    width: Option<usize>,
    /// Vectors that are kept, later also those written.
    rows: u64,
    /// Taken and not yet written.
    waiting: Vec<u8>,
}

impl Array {
    /// Opens or creates a file that no other process writes.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let fail = |err: &io::Error| cannot_write(&name, err);
        let file = locked(path)?;
        let size = file.metadata().map_err(|err| fail(&err))?.len();
        let (mut width, mut rows) = (None, 0);
        // A shorter file is a header that a killed process did not come to the end of.
        if size >= HEADER_BYTES as u64 {
            let mut header = [0; HEADER_BYTES];
            file.read_exact_at(&mut header, 0).map_err(|err| fail(&err))?;
            let width_there = width_of(&header).ok_or_else(|| {
                let what = "is not an array that this program wrote; it is left as it is. Name another file.";
                Error::new(ErrorKind::Options, format!("{name} {what}"))
            })?;
            (width, rows) = (Some(width_there), (size - HEADER_BYTES as u64) / (width_there * NUMBER_BYTES) as u64);
        }
        Ok(Self { name, file, width, rows, waiting: Vec::new() })
    }

    /// How many whole vectors there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// An error if there is anything in it, which no record tells of.
    pub fn check_empty(&self) -> Result<()> {
        check_empty(&self.name, &self.file)
    }

    /// The first `rows` of them stay, with the next [`Self::cut`].
    pub fn keep(&mut self, rows: u64) {
        self.rows = self.rows.min(rows);
    }

    /// Says how long they are, as those are that are there.
    pub fn begin(&mut self, width: usize) -> Result<()> {
        match self.width.replace(width) {
            Some(before) if before != width => Err(Error::new(
                ErrorKind::Options,
                format!("{} has vectors of {before} numbers, not of {width}. Name another --output.", self.name),
            )),
            _ => Ok(()),
        }
    }

    /// Cuts off what stands behind those that are kept.
    pub fn cut(&mut self) -> Result<()> {
        let end = self.at(self.rows);
        self.file.set_len(end).map_err(|err| cannot_write(&self.name, &err))?;
        self.count()
    }

    /// Takes a vector.
    pub fn push(&mut self, vector: &[f32]) {
        self.waiting.extend(vector.iter().flat_map(|number| number.to_le_bytes()));
    }

    /// Writes what was taken, not counted yet.
    pub fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.waiting, self.at(self.rows)).map_err(|err| cannot_write(&self.name, &err))?;
        self.rows += (self.waiting.len() / self.row_bytes()) as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Makes the header say how many there are.
    pub fn count(&self) -> Result<()> {
        let header = header(self.rows, self.width.unwrap_or(0));
        self.file.write_all_at(&header, 0).map_err(|err| cannot_write(&self.name, &err))
    }

    /// Brings it to the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|err| cannot_write(&self.name, &err))
    }

    /// The numbers of `count` vectors from `first` on.
    pub fn read(&self, first: u64, count: usize) -> io::Result<Vec<f32>> {
        let mut bytes = vec![0; count * self.row_bytes()];
        self.file.read_exact_at(&mut bytes, self.at(first))?;
        let (numbers, _) = bytes.as_chunks::<NUMBER_BYTES>();
        Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Numbers in a vector.
    pub fn width(&self) -> usize {
        self.width.unwrap_or(0)
    }

    fn row_bytes(&self) -> usize {
        self.width().max(1) * NUMBER_BYTES
    }

    fn at(&self, row: u64) -> u64 {
        HEADER_BYTES as u64 + row * self.row_bytes() as u64
    }
}

fn header(rows: u64, width: usize) -> Vec<u8> {
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let mut header = [MAGIC, shape.as_bytes()].concat();
    header.resize(HEADER_BYTES - 1, b' ');
    header.push(b'\n');
    header
}

/// The length of the vectors that a header tells of, if it is one of [`header`]'s.
fn width_of(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes.strip_prefix(MAGIC)?).ok()?;
    let (rows, width) = text.split_once('(')?.1.split_once(')')?.0.split_once(", ")?;
    let (rows, width) = (rows.parse().ok()?, width.parse().ok()?);
    (width > 0 && header(rows, width) == bytes).then_some(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_its_width_and_nothing_else_is_one() {
        for (rows, width) in [(0, 1), (7, 1024), (u64::MAX, 4096)] {
            let header = header(rows, width);
            assert_eq!((header.len(), width_of(&header)), (HEADER_BYTES, Some(width)), "{rows}");
            let mut other = header.clone();
            other[40] ^= 1;
            assert_eq!(width_of(&other), None);
        }
        assert_eq!(width_of(&header(3, 0)), None);
    }
}
