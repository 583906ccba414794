//! 64-byte aligned memory: owned and zeroed, or a file mapped read-only.
//!
//! Both kinds are page-aligned mappings, so every vector width and every cache line is aligned at offset 0.
//! Called by the checkpoint reader (mapped files) and by everything that holds weights or activations (owned).

use memmap2::{Mmap, MmapMut, MmapOptions};
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};

/// Buffers from this size on ask for huge pages: two of the usual 2 MiB, below which nothing is gained.
const HUGE_PAGE_BYTES: usize = 4 << 20;

/// `len` zeroed f32 values, aligned to a page.
pub struct Buffer {
    map: Option<MmapMut>,
    len: usize,
}

impl Buffer {
    /// `len` zeros. The pages are touched first by whoever writes them, so that they land on the writer's NUMA node.
    ///
    /// # Panics
    /// When the memory can't be had, as an allocation does.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<f32>()).expect("a buffer's size overflows usize");
        if bytes == 0 {
            return Self { map: None, len: 0 };
        }
        let map =
            MmapOptions::new().len(bytes).map_anon().unwrap_or_else(|e| panic!("cannot allocate {bytes} bytes: {e}"));
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_PAGE_BYTES {
            // Advice only: a kernel without huge pages answers EINVAL and the buffer works all the same.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Self { map: Some(map), len }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.map {
            None => &[],
            // SAFETY: the mapping is page-aligned, holds `len * 4` bytes (both fixed in `zeroed`) and any bit pattern is an f32.
            Some(map) => unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), self.len) },
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.map {
            None => &mut [],
            // SAFETY: as in `deref`, and `&mut self` makes the borrow unique.
            Some(map) => unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr().cast(), self.len) },
        }
    }
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
        // SAFETY: the mapping is private and read-only. Another process that truncates the file could still fault a
        // read or change its bytes; model files are installed once and the caller checks their size and structure.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self { map: Some(map) })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}
