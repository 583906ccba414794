//! A prompt as the engine takes it: token ids, of which other prompts may share the first.

use std::borrow::Cow;
use std::sync::Arc;

/// Token ids of one query-document pair, template included. The prompts of a query share what precedes the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    head: Arc<[u32]>,
    tail: Box<[u32]>,
}

impl Prompt {
    /// `head`, which other prompts begin with too, and what comes behind it; one of them may be empty.
    pub fn new(head: Arc<[u32]>, tail: impl Into<Box<[u32]>>) -> Self {
        Self { head, tail: tail.into() }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tokens come before the last and before the document: other prompts are likely to begin with them too.
    pub fn prefix(&self) -> usize {
        self.head.len().min(self.len().saturating_sub(1))
    }

    /// Whether both have their head between them.
    pub fn shares_head(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.head, &other.head)
    }

    /// Tokens that are this prompt's alone.
    pub fn own(&self) -> usize {
        self.tail.len()
    }

    /// Token ids, first to last.
    pub fn token_ids(&self) -> Cow<'_, [u32]> {
        match (&*self.head, &*self.tail) {
            ([], tail) => tail.into(),
            (head, []) => head.into(),
            (head, tail) => [head, tail].concat().into(),
        }
    }
}

impl From<Vec<u32>> for Prompt {
    /// A prompt that shares nothing.
    fn from(token_ids: Vec<u32>) -> Self {
        Self::new(Arc::default(), token_ids)
    }
}
