//! The words of bodies: JSON, fields, and what several resources read and answer.

pub mod body;
pub mod embed;
pub mod encoding;
pub mod fields;
pub mod halves;
pub mod input;
pub mod listing;
pub mod metadata;
pub mod names;
pub mod pairs;
mod words;
