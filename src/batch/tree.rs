//! A radix tree over token ids: sequences with a common prefix share nodes.
//!
//! Invariant: siblings begin with different tokens, no node is empty, a parent comes before its children in the order of
//! [`Tree::walk`]. Built and read by [`super::builder`] alone.

use crate::prefix_cache::common;
use std::collections::HashMap;

/// The tree; nodes are known by their index, which inserting never changes.
#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    /// The child of a node (or the root) that begins with a token: a node may have as many children as a batch has tokens.
    next: HashMap<(Option<usize>, u32), usize>,
}

pub(super) struct Node {
    pub parent: Option<usize>,
    /// Position of the first token.
    pub start: usize,
    pub tokens: Vec<u32>,
    /// Whether a sequence ends with the last token.
    pub ends: bool,
    children: Vec<usize>,
}

impl Tree {
    /// Length of the longest prefix of `ids` in the tree.
    pub fn common(&self, ids: &[u32]) -> usize {
        let (mut parent, mut found) = (None, 0);
        while let Some(child) = self.child(parent, ids, found) {
            let node = &self.nodes[child];
            let same = common(&node.tokens, &ids[found..]);
            found += same;
            if same < node.tokens.len() {
                break;
            }
            parent = Some(child);
        }
        found
    }

    /// Adds a sequence, which is not empty; the answer is the node that ends with its last token.
    pub fn insert(&mut self, ids: &[u32]) -> usize {
        let (mut parent, mut start) = (None, 0);
        while let Some(child) = self.child(parent, ids, start) {
            let same = common(&self.nodes[child].tokens, &ids[start..]);
            let upper = if same < self.nodes[child].tokens.len() { self.split(child, same) } else { child };
            (parent, start) = (Some(upper), start + same);
            if start == ids.len() {
                self.nodes[upper].ends = true;
                return upper;
            }
        }
        let tokens = ids[start..].to_vec();
        let node = self.nodes.len();
        self.next.insert((parent, tokens[0]), node);
        self.nodes.push(Node { parent, start, tokens, ends: true, children: Vec::new() });
        self.siblings_mut(parent).push(node);
        node
    }

    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The first `len` tokens of the sequence that `node` ends.
    pub fn path(&self, node: usize, len: usize) -> Vec<u32> {
        let nodes = std::iter::successors(Some(node), |&node| self.nodes[node].parent);
        let mut parts: Vec<&[u32]> = nodes.map(|node| self.nodes[node].tokens.as_slice()).collect();
        parts.reverse();
        let mut ids = parts.concat();
        ids.truncate(len);
        ids
    }

    /// All nodes, depth first.
    pub fn walk(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut stack: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(node) = stack.pop() {
            order.push(node);
            stack.extend(self.nodes[node].children.iter().rev());
        }
        order
    }

    /// Cuts the first `at` tokens off `node` into a new parent of it.
    fn split(&mut self, node: usize, at: usize) -> usize {
        let upper = self.nodes.len();
        let lower = &mut self.nodes[node];
        let rest = lower.tokens.split_off(at);
        let tokens = std::mem::replace(&mut lower.tokens, rest);
        self.next.insert((lower.parent, tokens[0]), upper);
        self.next.insert((Some(upper), lower.tokens[0]), node);
        let (parent, start) = (lower.parent, lower.start);
        (lower.parent, lower.start) = (Some(upper), start + at);
        self.nodes.push(Node { parent, start, tokens, ends: false, children: vec![node] });
        for sibling in self.siblings_mut(parent) {
            if *sibling == node {
                *sibling = upper;
            }
        }
        upper
    }

    fn child(&self, parent: Option<usize>, ids: &[u32], at: usize) -> Option<usize> {
        self.next.get(&(parent, *ids.get(at)?)).copied()
    }

    fn siblings_mut(&mut self, parent: Option<usize>) -> &mut Vec<usize> {
        match parent {
            Some(parent) => &mut self.nodes[parent].children,
            None => &mut self.roots,
        }
    }
}
