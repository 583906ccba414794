//! 64-byte aligned memory: owned and zeroed, or a file mapped read-only, whole or in part.
//!
//! Both kinds are page-aligned mappings, so every vector width and every cache line is aligned at offset 0.
//! Called by the checkpoint reader (mapped files) and by everything that holds weights or activations (owned).

use memmap2::{Mmap, MmapMut, MmapOptions};
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Buffers from this size on ask for huge pages: two of the usual 2 MiB, below which nothing is gained.
const HUGE_PAGE_BYTES: usize = 4 << 20;

/// The product of `factors`; panics where it overflows.
pub(crate) fn size(factors: &[usize]) -> usize {
    factors.iter().try_fold(1_usize, |size, &factor| size.checked_mul(factor)).expect("a size overflows usize")
}

/// `len` zeroed f32 values, aligned to a page.
pub struct Buffer {
    map: Option<MmapMut>,
}

impl Buffer {
    /// `len` zeros. The pages are touched first by whoever writes them, so that they land on the writer's NUMA node.
    ///
    /// # Panics
    /// When the memory can't be had, as an allocation does.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<f32>()).expect("a buffer's size overflows usize");
        if bytes == 0 {
            return Self { map: None };
        }
        let map =
            MmapOptions::new().len(bytes).map_anon().unwrap_or_else(|e| panic!("cannot allocate {bytes} bytes: {e}"));
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_PAGE_BYTES {
            // Advice only: a kernel without huge pages answers EINVAL and the buffer works all the same.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Self { map: Some(map) }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        self.map.as_deref().map_or(&[], values)
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        self.map.as_deref_mut().map_or(&mut [], values_mut)
    }
}

/// Bytes as values of a kind that any bits are; panics where they are not whole and aligned.
#[inline]
pub(crate) fn values<T: FromBytes + Immutable>(bytes: &[u8]) -> &[T] {
    if bytes.is_empty() {
        return &[];
    }
    <[T]>::ref_from_bytes(bytes).unwrap_or_else(|_| panic!("{} bytes are no aligned values", bytes.len()))
}

/// [`values`] to be written.
#[inline]
pub(crate) fn values_mut<T: FromBytes + IntoBytes>(bytes: &mut [u8]) -> &mut [T] {
    if bytes.is_empty() {
        return &mut [];
    }
    <[T]>::mut_from_bytes(bytes).unwrap_or_else(|_| panic!("the bytes are no aligned values"))
}

/// The bytes of a file, mapped read-only and never copied.
pub struct MappedFile {
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps the whole of `file`; an empty file gives no bytes.
    pub fn open(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the mapping is read-only. Another process that truncates the file can fault a read, which ends this
        // process (see `fault`), or change its bytes, any of which are valid; the caller checks what they mean.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self { map: Some(map) })
    }

    /// Asks for huge pages: what is read all over, again and again, then costs fewer translations of addresses.
    pub fn prefer_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map {
            // Advice only: a kernel or a file system without huge pages for files refuses, and all works the same.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
    }

    /// Gives back the memory of what was read; the next read takes it from the file again.
    pub fn release(&self) {
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map {
            // SAFETY: the mapping is read-only and of a file, so that dropped pages come back with the same bytes.
            // Advice only: where it is refused, the memory stays.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

/// Bytes that are only read: owned, or part of a mapped file.
pub(crate) enum Bytes {
    Owned(Buffer),
    Mapped { file: Arc<MappedFile>, start: usize, len: usize },
}

impl Bytes {
    /// `len` bytes from byte `start` of `file` on.
    ///
    /// # Panics
    /// When they do not lie within the file at a multiple of 64 bytes.
    pub fn mapped(file: &Arc<MappedFile>, start: usize, len: usize) -> Self {
        assert!(start.checked_add(len).is_some_and(|end| end <= file.len()), "{len} bytes at {start} of a file");
        assert!(start.is_multiple_of(64), "byte {start} of a file is not aligned");
        Self::Mapped { file: Arc::clone(file), start, len }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(buffer) => buffer.as_bytes(),
            Self::Mapped { file, start, len } => &file[*start..][..*len],
        }
    }
}
