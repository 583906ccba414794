//! An output as a Parquet file: the lines, ids and vectors of all rows.
//!
//! Invariants: such a file cannot grow, for its footer comes last; so it is made when all rows are there, of the files that
//! a run goes on from, and takes its place as a whole. One group of rows after the other is in memory. Called by
//! [`super::output`].

use super::array::Array;
use super::sheet::cannot_write;
use crate::error::{self, Error, ErrorKind};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SCHEMA: &str = "message rows {
    required int64 line;
    optional binary id (STRING);
    required boolean truncated;
    required group embedding (LIST) { repeated group list { required float element; } }
}";
/// Numbers of all vectors in a group: 64 MiB.
const GROUP_NUMBERS: usize = 1 << 24;
/// Vectors that are written at once.
const BLOCK_ROWS: usize = 256;

/// What is known of a row besides its vector.
#[derive(Deserialize)]
struct Row {
    line: i64,
    id: Option<Box<RawValue>>,
    #[serde(default)]
    truncated: u64,
}

/// How many rows a file has, if it is whole.
pub(super) fn rows(path: &Path) -> Option<u64> {
    let footer = ParquetMetaDataReader::new().parse_and_finish(&File::open(path).ok()?).ok()?;
    u64::try_from(footer.file_metadata().num_rows()).ok()
}

/// Makes the file at `path` of the lines of `rows` and as many vectors.
pub(super) fn write(path: &Path, rows: &Path, vectors: &Array) -> error::Result<()> {
    let mut unfinished = OsString::from(path);
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let failed = |err: ParquetError| match err {
        ParquetError::External(err) if err.is::<io::Error>() => {
            cannot_write(&unfinished.display().to_string(), err.downcast_ref().unwrap_or(&io::Error::other("")))
        }
        other => Error::new(ErrorKind::Internal, format!("{} cannot be made: {other}.", path.display())),
    };
    fill(&unfinished, rows, vectors).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(|err| cannot_write(&path.display().to_string(), &err))
}

fn fill(path: &Path, rows: &Path, vectors: &Array) -> Result<()> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    // Numbers of vectors come once and have no order that anybody asks for.
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(Compression::UNCOMPRESSED)
        .set_column_statistics_enabled("embedding.list.element".into(), EnabledStatistics::None)
        .build();
    let mut file = SerializedFileWriter::new(BufWriter::new(File::create(path)?), schema, Arc::new(properties))?;
    let mut lines = BufReader::new(File::open(rows)?).lines();
    let most = (GROUP_NUMBERS / vectors.width().max(1)).max(1) as u64;
    let mut first = 0;
    while first < vectors.rows() {
        let count = most.min(vectors.rows() - first) as usize;
        let rows = lines.by_ref().take(count).map(|line| row(&line?)).collect::<io::Result<Vec<Row>>>()?;
        let mut group = file.next_row_group()?;
        columns(&mut group, &rows)?;
        embedding(&mut group, vectors, first, count)?;
        group.close()?;
        first += count as u64;
    }
    let file = file.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}

fn row(line: &str) -> io::Result<Row> {
    Ok(serde_json::from_str(line)?)
}

/// Lines, ids as texts, and whether a text was shortened.
fn columns(group: &mut Group<'_>, rows: &[Row]) -> Result<()> {
    let lines: Vec<i64> = rows.iter().map(|row| row.line).collect();
    column::<Int64Type>(group, &lines, None)?;
    let ids = rows.iter().filter_map(|row| row.id.as_deref()).map(|id| ByteArray::from(text(id).into_bytes()));
    let there: Vec<i16> = rows.iter().map(|row| i16::from(row.id.is_some())).collect();
    column::<ByteArrayType>(group, &ids.collect::<Vec<_>>(), Some(&there))?;
    let truncated: Vec<bool> = rows.iter().map(|row| row.truncated > 0).collect();
    column::<BoolType>(group, &truncated, None)
}

type Group<'a> = SerializedRowGroupWriter<'a, BufWriter<File>>;

fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], there: Option<&[i16]>) -> Result<()> {
    let mut column = group.next_column()?.expect("the schema has it");
    column.typed::<T>().write_batch(values, there, None)?;
    column.close()
}

fn embedding(group: &mut Group<'_>, vectors: &Array, first: u64, count: usize) -> Result<()> {
    let mut column = group.next_column()?.expect("the schema has it");
    let begins = |index: usize| i16::from(!index.is_multiple_of(vectors.width()));
    for from in (0..count).step_by(BLOCK_ROWS) {
        let numbers = vectors.read(first + from as u64, BLOCK_ROWS.min(count - from))?;
        let (there, goes_on) = (vec![1; numbers.len()], (0..numbers.len()).map(begins).collect::<Vec<i16>>());
        column.typed::<FloatType>().write_batch(&numbers, Some(&there), Some(&goes_on))?;
    }
    column.close()
}

/// A string as the text that it is, any other id as its JSON.
fn text(id: &RawValue) -> String {
    serde_json::from_str(id.get()).unwrap_or_else(|_| id.get().to_owned())
}
