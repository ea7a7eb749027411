//! [`Image`]: arguments as they will lie in a component's memory.
//!
//! They are laid out before the guest is entered, so that a wrong one does not reach it; what is left to do then is to
//! ask the guest for memory and to copy. A value takes here what it takes there: a byte for a `bool` or for an option
//! that is none.

/// The block that holds the arguments themselves.
pub(crate) const ROOT: usize = 0;

/// Blocks of memory, each after the one that points to it.
pub(crate) struct Image {
    pub(super) blocks: Vec<Block>,
}

/// One allocation in the component's memory.
pub(super) struct Block {
    /// The block that points to this one, and where in it the pointer and the length lie.
    pub(super) parent: u32,
    pub(super) at: u32,
    /// The length, in items.
    pub(super) count: u32,
    pub(super) align: u32,
    pub(super) data: Data,
}

pub(super) enum Data {
    /// In the component's own encoding, which is not looked at here.
    Text(String),
    Bytes(Vec<u8>),
}

/// What one block takes up beside its data, while the list of them grows too: of two lists that are there at once the
/// new one is twice as long.
pub(super) const BLOCK: usize = 3 * (size_of::<Block>() + size_of::<u32>());

impl Image {
    /// With room for the arguments themselves.
    pub(super) fn new(size: usize, align: u32) -> Self {
        Self { blocks: vec![Block { parent: 0, at: 0, count: 0, align, data: Data::Bytes(vec![0; size]) }] }
    }

    /// Writes bytes at a place that was made for them.
    pub(super) fn put(&mut self, block: usize, at: usize, bytes: &[u8]) {
        match self.room(block, at).get_mut(..bytes.len()) {
            Some(data) => data.copy_from_slice(bytes),
            None => debug_assert!(false, "a place beyond its block"),
        }
    }

    /// A block from this place on.
    pub(super) fn room(&mut self, block: usize, at: usize) -> &mut [u8] {
        let data = self.blocks.get_mut(block).and_then(|block| match &mut block.data {
            Data::Bytes(data) => data.get_mut(at..),
            Data::Text(_) => None,
        });
        data.unwrap_or_default()
    }

    /// Adds a block, to which `at` in `parent` points, and gives its number.
    pub(super) fn add(&mut self, parent: usize, at: usize, count: usize, align: u32, data: Data) -> usize {
        // None is beyond 32 bits: all of them lie in less than what a component's memory can hold.
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.blocks.push(Block { parent: short(parent), at: short(at), count: short(count), align, data });
        self.blocks.len() - 1
    }
}
